import { SuError } from '../errors.js';
import type { Id } from '../protocol/ids.js';
import { AuditProgress, type AuditIdentity, type Tally } from './checkpoint.js';
import { FINDINGS, type Finding, type FindingCode, type Severity } from './findings.js';
import type { AuditedLog, AuditSource, Checkpoint, EntryChecks } from './ports.js';
import { Slots } from './slots.js';
import { verifyLog, type LogState } from './verify-log.js';

export interface AuditRequest {
  /** Empty: all that the source has. */
  readonly processes: readonly Id[];
  /** Milliseconds: only entries from then on. */
  readonly since: number | undefined;
  /** The same as the operator wrote it, by which a checkpoint knows it again. */
  readonly sinceAsGiven: string | undefined;
  /** False: a quick look. */
  readonly signatures: boolean;
}

export interface AuditParts {
  readonly source: AuditSource;
  readonly checks: EntryChecks;
  /** Takes each finding as it is made; the audit waits for it. */
  readonly report: (finding: Finding) => Promise<void>;
  /** Told after each piece. */
  readonly onProgress: (progress: AuditCounts) => void;
  readonly checkpoint: Checkpoint | undefined;
  /** Runs this again and again until it is stopped, so that a killed audit loses little. */
  readonly every: (save: () => Promise<void>) => { stop(): Promise<void> };
  /** Stops the audit after the pieces under way. */
  readonly signal: AbortSignal;
}

/** How far an audit is. */
export interface AuditCounts extends Tally {
  /** Logs there are to audit. */
  readonly processesTotal: number;
}

/** What an audit came to. */
export interface AuditSummary extends Tally {
  readonly severities: Readonly<Record<Severity, number>>;
  /** Uploads outstanding in the whole store, undefined where that was not asked. */
  readonly outstanding: { readonly pending: number; readonly parked: number } | undefined;
}

/**
 * Audits logs, several at a time. Memory does not grow with the size of a log or with their number.
 *
 * @throws SuError `interrupted` when the signal was given before the end, `invalid-config` for a checkpoint of another
 *   audit, and what the source throws
 */
export async function verifyLogs(request: AuditRequest, parts: AuditParts): Promise<AuditSummary> {
  const { source, checks, checkpoint } = parts;
  const { processes, since, sinceAsGiven, signatures } = request;
  const identity: AuditIdentity = { source: source.name, processes, sinceAsGiven, signatures };
  const progress = new AuditProgress(identity, { since, text: await checkpoint?.read() });
  const processesTotal = processes.length || (await source.countLogs());
  const run = new Run(request, { ...parts, progress, processesTotal });
  // A file that cannot be written is better known now than after hours.
  await checkpoint?.write(progress.encode());
  const saving = checkpoint && parts.every(() => checkpoint.write(progress.encode()));
  try {
    await run.all(checks.parallel + 1);
  } finally {
    await saving?.stop();
    if (!run.isFinished) await checkpoint?.write(progress.encode());
  }
  if (!run.isFinished) {
    const hint = checkpoint === undefined ? '' : '; the same command goes on from the checkpoint';
    throw new SuError('interrupted', `the audit was stopped before its end${hint}`);
  }
  const outstanding = processes.length === 0 ? await source.countOutstanding() : undefined;
  await checkpoint?.remove();
  return { ...progress.tally, severities: bySeverity(progress.tally.codes), outstanding };
}

interface RunParts extends AuditParts {
  readonly progress: AuditProgress;
  readonly processesTotal: number;
}

/** One log to audit, or the id of one that is not there. */
type Target = { readonly log: AuditedLog; readonly state: LogState } | { readonly unknown: Id };

class Run {
  readonly #request: AuditRequest;
  readonly #parts: RunParts;
  readonly #slots: Slots;
  /** The operator's signal, or a failure of one log: the others end at their next piece. */
  readonly #stop = new AbortController();
  #isFinished = false;

  constructor(request: AuditRequest, parts: RunParts) {
    this.#request = request;
    this.#parts = parts;
    this.#slots = new Slots(2 * parts.checks.parallel + 1);
  }

  /** Every log was audited to its end. */
  get isFinished(): boolean {
    return this.#isFinished;
  }

  async all(logsAtATime: number): Promise<void> {
    const targets = this.#targets();
    const onAbort = (): void => this.#stop.abort();
    const { signal } = this.#parts;
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    try {
      const loops = Array.from({ length: logsAtATime }, () => this.#work(targets));
      const outcomes = await Promise.allSettled(loops);
      for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
      this.#isFinished = !this.#stop.signal.aborted;
    } finally {
      signal.removeEventListener('abort', onAbort);
      await targets.return(undefined);
    }
  }

  async #work(targets: AsyncGenerator<Target>): Promise<void> {
    try {
      for (;;) {
        if (this.#stop.signal.aborted) return;
        const next = await targets.next();
        if (next.done === true) return;
        if ('unknown' in next.value) await this.#reportUnknown(next.value.unknown);
        else await this.#verify(next.value.log, next.value.state);
      }
    } catch (error) {
      this.#stop.abort();
      throw error;
    }
  }

  /** The logs that an earlier run has left, then those it has not begun. */
  async *#targets(): AsyncGenerator<Target> {
    const { source, progress } = this.#parts;
    const { processes } = this.#request;
    const { started, afterId } = progress;
    for (const processId of progress.running) yield await this.#find(processId);
    if (processes.length > 0) {
      for (const processId of processes.slice(started)) yield await this.#find(processId);
      return;
    }
    for await (const log of source.readLogs(afterId)) {
      yield { log, state: progress.begin(log.processId) };
    }
  }

  async #find(processId: Id): Promise<Target> {
    const { source, progress } = this.#parts;
    const state = progress.begin(processId);
    const log = await source.findLog(processId);
    return log === undefined ? { unknown: processId } : { log, state };
  }

  async #verify(log: AuditedLog, start: LogState): Promise<void> {
    const { progress, checks } = this.#parts;
    const { signatures, processes } = this.#request;
    const { since } = progress;
    const { signal } = this.#stop;
    let { unverified } = start;
    const options = { checks, slots: this.#slots, since, signatures, signal };
    for await (const piece of verifyLog(log, start, options)) {
      for (const finding of piece.findings) await this.#parts.report(finding);
      progress.advance(log.processId, piece);
      ({ unverified } = piece.state);
      this.#tellProgress();
    }
    if (signal.aborted) return;
    const notes = [
      ...notVerified(log.processId, unverified),
      ...(processes.length > 0 ? await log.readNotes() : []),
    ];
    await this.#end(log.processId, notes);
  }

  async #reportUnknown(processId: Id): Promise<void> {
    await this.#end(processId, [
      {
        code: 'process-unknown',
        severity: FINDINGS['process-unknown'].severity,
        process: processId,
        expected: 'a process',
        found: 'none with this id',
        also: [],
      },
    ]);
  }

  async #end(processId: Id, findings: readonly Finding[]): Promise<void> {
    const { progress } = this.#parts;
    for (const finding of findings) await this.#parts.report(finding);
    progress.count(findings);
    progress.finish(processId);
    this.#tellProgress();
  }

  #tellProgress(): void {
    const { progress, processesTotal, onProgress } = this.#parts;
    onProgress({ ...progress.tally, processesTotal });
  }
}

function notVerified(processId: Id, count: number): readonly Finding[] {
  if (count === 0) return [];
  return [
    {
      code: 'not-verifiable',
      severity: FINDINGS['not-verifiable'].severity,
      process: processId,
      expected: 'all signed bytes',
      found: `${count} ${count === 1 ? 'signature' : 'signatures'} over bytes that JSON does not carry whole`,
      also: [],
    },
  ];
}

function bySeverity(codes: Tally['codes']): Record<Severity, number> {
  const counts: Record<Severity, number> = { fault: 0, warning: 0, information: 0 };
  for (const [code, count] of Object.entries(codes)) {
    counts[FINDINGS[code as FindingCode].severity] += count;
  }
  return counts;
}
