import { invariant, SuError } from '../../errors.js';
import { parseProcessBundle, readSpawnPlace } from '../../protocol/bundle.js';
import { renderNodeBytes, renderProcessNode, renderProcessRecord } from '../../protocol/wire.js';
import type { Head, NewEntry, Run } from '../../scheduler/ports.js';
import { encodeProcessTexts, STORED_JSON_BYTES_MAX } from './rows.js';
import type { RunToWrite } from './write-request.js';

/** A run with the JSON of its entries. */
export interface RenderedRun {
  readonly run: Run;
  /** Undefined where it is rendered at each read. */
  readonly jsons: readonly (Buffer | undefined)[];
}

/** Runs as the writer thread wants them, and the buffer that all their bytes lie in. */
export interface PackedRuns {
  readonly runs: readonly RunToWrite[];
  readonly payload: ArrayBuffer;
}

/** A run that breaks a rule, from this entry on. */
export interface RefusedRun {
  readonly index: number;
  readonly error: SuError;
}

/** Checks a run and renders what pages will show of it. */
export function renderRun(run: Run): RenderedRun | RefusedRun {
  const jsons: (Buffer | undefined)[] = [];
  let previous = run.onto;
  for (const [index, entry] of run.entries.entries()) {
    try {
      assertFollows(run, previous, entry);
      jsons.push(renderEntry(entry));
    } catch (cause) {
      const error =
        cause instanceof SuError
          ? cause
          : new SuError('invariant', 'an entry cannot be rendered', { cause });
      return { index, error };
    }
    previous = entry.head;
  }
  return { run, jsons };
}

/**
 * Copies everything into one buffer, which can then be handed to another thread: the only copy that is made of a body on
 * this side. The entries stay usable: after an unknown outcome they may be written again.
 */
export function packRuns(rendered: readonly RenderedRun[]): PackedRuns {
  let size = 0;
  for (const { run, jsons } of rendered) {
    for (const { bundle } of run.entries) size += bundle.length;
    for (const json of jsons) size += json?.length ?? 0;
  }
  // Not filled with zeros, and not part of Buffer's pool: it is written whole and leaves this thread.
  const bytes = Buffer.allocUnsafeSlow(size);
  let offset = 0;
  const pack = (part: Uint8Array): Uint8Array => {
    bytes.set(part, offset);
    offset += part.length;
    return bytes.subarray(offset - part.length, offset);
  };
  const runs = rendered.map(({ run, jsons }) => ({
    processId: run.processId,
    onto: run.onto,
    entries: run.entries.map((entry, index) => {
      const json = jsons[index];
      return {
        kind: entry.kind,
        messageId: entry.messageId,
        assignmentId: entry.assignment?.id,
        head: entry.head,
        uploads: entry.uploads,
        identity: entry.identity,
        deepHashes: entry.deepHashes,
        bundle: pack(entry.bundle),
        json: json && pack(json),
      };
    }),
  }));
  return { runs, payload: bytes.buffer };
}

/** A wrong chain is a bug of ours; here is the last place where it costs nothing. */
function assertFollows({ processId }: Run, previous: Head | undefined, entry: NewEntry): void {
  const { head, kind } = entry;
  const details = { processId, nonce: head.nonce };
  invariant(entry.processId === processId, 'all entries of a run are of its process', details);
  invariant(
    (kind === 'process') === (previous === undefined),
    'a log begins with its process',
    details,
  );
  if (previous === undefined) {
    invariant(entry.messageId === processId, 'a process is named by its own id', details);
    return;
  }
  invariant(head.nonce === previous.nonce + 1, 'the next nonce is the head’s plus one', details);
  invariant(head.epoch === previous.epoch, 'an epoch goes on', details);
  invariant(head.timestamp > previous.timestamp, 'timestamps of a process rise', details);
}

/** The stored JSON, undefined when it would be large. JSON is never shorter than the data in it. */
function renderEntry(entry: NewEntry): Buffer | undefined {
  if ((entry.item?.data.length ?? 0) > STORED_JSON_BYTES_MAX) return undefined;
  if (entry.kind === 'process') return renderProcess(entry);
  const form = entry.item === undefined ? 'assignment-only' : 'inner-assignment';
  const { item, assignment } = entry;
  const json = renderNodeBytes({ form, item, assignment });
  return json.length > STORED_JSON_BYTES_MAX ? undefined : json;
}

function renderProcess({ bundle, head }: NewEntry): Buffer | undefined {
  const texts = renderProcessTexts(bundle, { showAnchor: false });
  invariant(
    texts.spawn.timestamp === head.timestamp,
    'a process’s bundle says when it was spawned',
    {
      timestamp: head.timestamp,
    },
  );
  const json = encodeProcessTexts(texts);
  return json.length > 2 * STORED_JSON_BYTES_MAX ? undefined : json;
}

/**
 * What reads show of a process, from its bundle.
 *
 * @throws SuError `invalid-data-item`
 */
export function renderProcessTexts(
  bundle: Uint8Array,
  options: { readonly showAnchor: boolean },
): { record: Buffer; node: Buffer | undefined; spawn: { blockHeight: number; timestamp: number } } {
  const stored = parseProcessBundle(bundle);
  const spawn = readSpawnPlace(stored);
  const { item, assignment } = stored;
  invariant(item !== undefined, 'the bundle of a process holds the process');
  return {
    record: Buffer.from(renderProcessRecord({ item, assignment, ...spawn }), 'utf8'),
    node:
      assignment === undefined
        ? undefined
        : Buffer.from(renderProcessNode({ item, assignment }, options), 'utf8'),
    spawn,
  };
}
