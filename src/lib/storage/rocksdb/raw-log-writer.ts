import { invariant, SuError } from '../../errors.js';
import type { RawLogWriter, StoredMessage, StoredProcess } from '../../migrator/ports.js';
import { readAssignment } from '../../protocol/assignment.js';
import {
  parseMessageBundle,
  parseProcessBundle,
  readSpawnPlace,
  type StoredBundle,
} from '../../protocol/bundle.js';
import { renderNode } from '../../protocol/wire.js';
import type { Head } from '../../scheduler/ports.js';
import type { Engine } from './engine.js';
import { renderProcessTexts } from './pack-runs.js';
import { encodeProcessTexts, STORED_JSON_BYTES_MAX } from './rows.js';
import type { CopiedMessage, CopiedProcess } from './write-request.js';

/**
 * Takes rows over into the embedded store, through its writer thread. Bundles are kept byte for byte; the JSON is rendered
 * from them, since what another store holds may be of an older form. Rows with one place, which old databases have, must
 * come in one call.
 */
export class RocksdbRawLogWriter implements RawLogWriter {
  readonly #engine: Engine;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  async writeRows(process: StoredProcess, messages: readonly StoredMessage[]): Promise<void> {
    for (const { processId } of messages) {
      invariant(processId === process.processId, 'the rows of a call are of one process');
    }
    for (;;) {
      // Anew for each try: the buffer is handed over.
      const { pack, payload } = makePayload(process, messages);
      const request = {
        kind: 'copy',
        process: copyProcess(process, pack),
        messages: messages.map((message) => copyMessage(message, pack)),
      } as const;
      const answer = await this.#engine.write(request, payload());
      if (answer.kind !== 'copy') throw new SuError('invariant', 'the writer answered otherwise');
      if (answer.status === 'written') return;
      if (answer.status === 'refused') throw new SuError('refused-by-store', answer.reason);
    }
  }
}

/** Parts are gathered first and copied into one buffer once their number is known. */
function makePayload(
  process: StoredProcess,
  messages: readonly StoredMessage[],
): { pack: (part: Uint8Array) => Uint8Array; payload: () => ArrayBuffer } {
  const bytes = [process, ...messages].reduce((sum, { bundle }) => sum + bundle.length, 0);
  const buffer = Buffer.allocUnsafeSlow(bytes);
  let offset = 0;
  return {
    pack: (part) => {
      buffer.set(part, offset);
      offset += part.length;
      return buffer.subarray(offset - part.length, offset);
    },
    payload: () => buffer.buffer,
  };
}

function copyProcess(row: StoredProcess, pack: (part: Uint8Array) => Uint8Array): CopiedProcess {
  const { processId } = row;
  const parsed = read(processId, () => parseProcessBundle(row.bundle));
  const spawn = read(processId, () => readSpawnPlace(parsed));
  const { assignment } = parsed;
  const place = assignment && read(processId, () => readAssignment(assignment));
  const timestamp = row.timestamp ?? spawn.timestamp;
  const head: Head = {
    epoch: row.epoch ?? place?.epoch ?? 0,
    nonce: place === undefined ? -1 : (row.nonce ?? place.nonce),
    timestamp,
    blockHeight: spawn.blockHeight,
    hashChain: place === undefined ? undefined : (row.hashChain ?? place.hashChain),
    assignmentId: assignment?.id,
  };
  const texts = encodeProcessTexts(renderProcessTexts(row.bundle, { showAnchor: false }));
  const json = texts.length > 2 * STORED_JSON_BYTES_MAX ? undefined : texts;
  return { processId, head, bundle: pack(row.bundle), json };
}

/** A row whose bundle cannot be read is taken over as it is, for the audit to name. */
function copyMessage(row: StoredMessage, pack: (part: Uint8Array) => Uint8Array): CopiedMessage {
  const { messageId, epoch, nonce, rank, timestamp, hashChain } = row;
  const parsed = attempt(() => parseMessageBundle(row.bundle));
  const assignment = parsed?.assignment;
  const fields = assignment && attempt(() => readAssignment(assignment));
  const assignmentId = row.assignmentId ?? assignment?.id;
  const blockHeight = fields?.blockHeight ?? 0;
  return {
    messageId,
    rank,
    isMessage: parsed === undefined || parsed.item !== undefined,
    exclude: fields?.exclude ?? [],
    head: { epoch, nonce, timestamp, blockHeight, hashChain, assignmentId },
    bundle: pack(row.bundle),
    json: parsed && renderJson(parsed),
  };
}

function renderJson(parsed: StoredBundle): Uint8Array | undefined {
  if ((parsed.item?.data.length ?? 0) > STORED_JSON_BYTES_MAX) return undefined;
  const json = Buffer.from(renderNode(parsed), 'utf8');
  return json.length > STORED_JSON_BYTES_MAX ? undefined : json;
}

function read<T>(processId: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new SuError(
      'refused-by-store',
      `process ${processId} cannot be taken over: its bundle cannot be read (${reason})`,
      { cause },
    );
  }
}

function attempt<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch {
    return undefined;
  }
}
