import { z } from 'zod';
import { SuError } from '../errors.js';
import type { Id } from '../protocol/ids.js';
import { isId } from '../protocol/ids.js';
import { FINDINGS, type Finding, type FindingCode } from './findings.js';
import { beginWalk } from './log-walk.js';
import type { LogState, LogStep } from './verify-log.js';

/** What an audit was asked to do: a checkpoint continues the same one and no other. */
export interface AuditIdentity {
  readonly source: string;
  /** Empty: all. */
  readonly processes: readonly Id[];
  /** As the operator wrote it: "24h" is another moment at each run, and still the same audit. */
  readonly sinceAsGiven: string | undefined;
  readonly signatures: boolean;
}

/** What an audit has seen so far. */
export interface Tally {
  /** Logs that were finished. */
  readonly processes: number;
  readonly entries: number;
  readonly signatures: number;
  /** How often each code was found. */
  readonly codes: Readonly<Partial<Record<FindingCode, number>>>;
}

const FORMAT = 1;

const id = z.custom<Id>((value) => typeof value === 'string' && isId(value));
const count = z.int().min(0);
const place = z.object({ epoch: z.int(), nonce: z.int() });
const logState = z.object({
  position: place.extend({ rank: z.int() }).optional(),
  unverified: count,
  walk: z.object({
    last: place.optional(),
    lastRow: place.optional(),
    accepts: z.array(id).nullable(),
    lastAssignments: z.array(z.string()),
    timestamp: z.int().optional(),
    owner: z.string().optional(),
    isBeginUnknown: z.boolean(),
  }),
});
const fileShape = z.strictObject({
  format: z.literal(FORMAT),
  audit: z.unknown(),
  since: z.int().optional(),
  afterId: z.string().optional(),
  started: count,
  running: z.array(z.tuple([id, logState])),
  tally: z.object({
    processes: count,
    entries: count,
    signatures: count,
    codes: z.partialRecord(z.enum(Object.keys(FINDINGS) as FindingCode[]), count),
  }),
});

/**
 * Where an audit stands: which logs were begun, how far each of those is, and what was counted. Bounded by the number of
 * logs at a time.
 */
export class AuditProgress {
  readonly #identity: AuditIdentity;
  readonly #running = new Map<Id, LogState>();
  /** Milliseconds: entries before then are not checked. The first run's, whatever the clock says now. */
  readonly since: number | undefined;
  #afterId: Id | undefined;
  #started = 0;
  #processes = 0;
  #entries = 0;
  #signatures = 0;
  readonly #codes: Partial<Record<FindingCode, number>> = {};

  /**
   * @param from.since ms; holds unless the checkpoint has another
   * @param from.text what `encode` made, undefined at the beginning
   * @throws SuError `invalid-config` when it is no checkpoint, or one of another audit
   */
  constructor(
    identity: AuditIdentity,
    from: { readonly since: number | undefined; readonly text: string | undefined },
  ) {
    this.#identity = identity;
    this.since = from.since;
    if (from.text === undefined) return;
    const read = readFile(from.text);
    if (JSON.stringify(read.audit) !== JSON.stringify(describe(identity))) {
      throw new SuError(
        'invalid-config',
        'the checkpoint is that of another audit (other processes, options or store): ' +
          'name another file, or remove it to begin anew',
      );
    }
    this.since = read.since;
    this.#afterId = read.afterId as Id | undefined;
    this.#started = read.started;
    for (const [processId, state] of read.running) {
      this.#running.set(processId, state as LogState);
    }
    this.#processes = read.tally.processes;
    this.#entries = read.tally.entries;
    this.#signatures = read.tally.signatures;
    this.#codes = read.tally.codes;
  }

  /** The last log that was begun, in the source's order. */
  get afterId(): Id | undefined {
    return this.#afterId;
  }

  /** Logs that were begun. */
  get started(): number {
    return this.#started;
  }

  /** Logs that were begun and not finished. */
  get running(): readonly Id[] {
    return [...this.#running.keys()];
  }

  get tally(): Tally {
    return {
      processes: this.#processes,
      entries: this.#entries,
      signatures: this.#signatures,
      codes: { ...this.#codes },
    };
  }

  /** Notes that a log is begun; tells where it stands, when it was begun before. */
  begin(processId: Id): LogState {
    const known = this.#running.get(processId);
    if (known !== undefined) return known;
    const fresh = { position: undefined, walk: beginWalk(processId), unverified: 0 };
    this.#running.set(processId, fresh);
    this.#afterId = processId;
    this.#started += 1;
    return fresh;
  }

  /** Notes what a piece of a log has told, after it was reported. */
  advance(processId: Id, { state, findings, entries, signatures }: LogStep): void {
    this.#running.set(processId, state);
    this.#entries += entries;
    this.#signatures += signatures;
    this.count(findings);
  }

  /** Counts findings that were reported. */
  count(findings: readonly Finding[]): void {
    for (const { code } of findings) this.#codes[code] = (this.#codes[code] ?? 0) + 1;
  }

  /** Notes the end of a log. */
  finish(processId: Id): void {
    this.#running.delete(processId);
    this.#processes += 1;
  }

  /** As text, for another run to go on from. */
  encode(): string {
    return JSON.stringify({
      format: FORMAT,
      audit: describe(this.#identity),
      since: this.since,
      afterId: this.#afterId,
      started: this.#started,
      running: [...this.#running],
      tally: this.tally,
    });
  }
}

function describe({ source, processes, sinceAsGiven, signatures }: AuditIdentity): object {
  return { source, processes, since: sinceAsGiven ?? null, signatures };
}

function readFile(text: string): z.infer<typeof fileShape> {
  try {
    return fileShape.parse(JSON.parse(text));
  } catch (cause) {
    throw new SuError(
      'invalid-config',
      'the checkpoint cannot be read: name another file, or remove it to begin anew',
      { cause },
    );
  }
}
