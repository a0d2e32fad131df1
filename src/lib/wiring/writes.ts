import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import type { SchedulerConfig } from '../config/config.js';
import type { Log } from '../observability/log.js';
import type { Metrics } from '../observability/metrics.js';
import type { BlockClock } from '../scheduler/block-clock.js';
import type { Committed } from '../scheduler/committer.js';
import type { Guards } from '../scheduler/guards.js';
import { openWritePath, WRITE_LIMITS, type WritePath } from '../scheduler/open-write-path.js';
import { UPLOAD_ASSIGNMENT, UPLOAD_BUNDLE, UPLOAD_ITEM } from '../scheduler/ports.js';
import type { Gateway, NewEntry, Signer } from '../scheduler/ports.js';
import { delayByTimer } from '../uploader/delay.js';
import type { FreshRow } from '../uploader/held-rows.js';
import type { OutboxWorker } from '../uploader/outbox-worker.js';
import type { Upload } from '../uploader/ports.js';
import { clock, monotonicMs } from './clocks.js';
import type { SchedulerStore } from './store.js';

export interface WriteParts {
  readonly opened: SchedulerStore;
  readonly signer: Signer;
  readonly gateway: Gateway;
  readonly blockClock: BlockClock;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly worker: OutboxWorker;
  readonly guards: Guards;
}

/** The write path over the opened parts. */
export function openWrites(config: SchedulerConfig, parts: WriteParts): WritePath {
  const { opened, metrics, log, worker } = parts;
  return openWritePath({
    store: opened.store,
    groupOf: opened.groupOf,
    gateway: parts.gateway,
    signer: parts.signer,
    blockClock: parts.blockClock,
    clock,
    monotonicMs,
    random: (length) => randomBytes(length),
    pause: delayByTimer,
    missing: () => opened.missing(),
    processAssignment: config.processAssignment,
    assignRetryWindowMs: config.assignRetryWindowMs,
    processCacheSize: config.processCacheSize,
    readyAt: monotonicMs() + config.warmupDelayMs,
    guards: parts.guards,
    limits: { ...WRITE_LIMITS, signaturesAtOnce: availableParallelism() + 1 },
    observe: {
      signed: (durationMs) => metrics.observeSign(durationMs),
      waited: (durationMs) => metrics.observeCore('acquire_write_lock', durationMs),
      committed(committed) {
        metrics.observeCommit(entriesOf(committed), committed.durationMs);
        reportLosses(committed, log);
        // Behind the receipts: whoever waits for one is not kept by the beginning of an upload.
        setImmediate(() => worker.offer(freshRows(committed), committed.durationMs));
      },
    },
  });
}

function entriesOf({ runs }: Committed): number {
  return runs.reduce((sum, { entries }) => sum + entries.length, 0);
}

/** A run that was not written is worth a line each time: another server on the database, or a database in trouble. */
function reportLosses({ runs, outcomes }: Committed, log: Log): void {
  outcomes.forEach((outcome, index) => {
    if (outcome.status === 'appended') return;
    const processId = runs[index]?.processId;
    const entries = runs[index]?.entries.length;
    const cause = outcome.status === 'moved' ? undefined : outcome.error;
    log.warn({ event: 'commit', outcome: outcome.status, processId, entries, err: cause });
  });
}

/** What was just committed, with its bytes, for the shortcut past the outbox's table. */
function freshRows({ runs, outcomes }: Committed): readonly FreshRow[] {
  return runs.flatMap((run, index) => {
    const outcome = outcomes[index];
    if (outcome?.status !== 'appended') return [];
    return run.entries.map((entry, place) => ({
      row: {
        key: outcome.outboxKeys[place] ?? '',
        processId: entry.processId,
        messageId: entry.messageId,
        assignmentId: entry.kind === 'process' ? undefined : entry.assignment?.id,
        parts: entry.uploads,
        attempts: 0,
      },
      uploads: uploadsOf(entry),
    }));
  });
}

function uploadsOf(entry: NewEntry): readonly Upload[] {
  const uploads: Upload[] = [];
  const { item, assignment, bundle } = entry;
  if ((entry.uploads & UPLOAD_ITEM) !== 0 && item !== undefined) {
    uploads.push({ part: UPLOAD_ITEM, id: item.id, bytes: item.bytes });
  }
  if ((entry.uploads & UPLOAD_ASSIGNMENT) !== 0 && assignment !== undefined) {
    uploads.push({ part: UPLOAD_ASSIGNMENT, id: assignment.id, bytes: assignment.bytes });
  }
  if ((entry.uploads & UPLOAD_BUNDLE) !== 0) {
    uploads.push({ part: UPLOAD_BUNDLE, id: entry.messageId, bytes: bundle });
  }
  return uploads;
}
