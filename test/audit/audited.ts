import { checksInPlace } from '../../src/lib/audit/check-entry.js';
import type { Finding } from '../../src/lib/audit/findings.js';
import type { AuditSource, Checkpoint, EntryChecks } from '../../src/lib/audit/ports.js';
import {
  verifyLogs,
  type AuditRequest,
  type AuditSummary,
} from '../../src/lib/audit/verify-logs.js';

export interface Audited {
  readonly findings: readonly Finding[];
  readonly summary: AuditSummary;
}

export interface AuditOptions extends Partial<AuditRequest> {
  readonly checks?: EntryChecks;
  readonly checkpoint?: Checkpoint;
  readonly signal?: AbortSignal;
  readonly report?: (finding: Finding) => Promise<void>;
  readonly onProgress?: () => void;
}

/** Runs an audit on this thread to its end. */
export async function auditOf(source: AuditSource, options: AuditOptions = {}): Promise<Audited> {
  const { processes = [], since, sinceAsGiven, signatures = true } = options;
  const findings: Finding[] = [];
  const summary = await verifyLogs(
    { processes, since, sinceAsGiven, signatures },
    {
      source,
      checks: options.checks ?? checksInPlace(),
      report: async (finding) => {
        findings.push(finding);
        await options.report?.(finding);
      },
      onProgress: () => options.onProgress?.(),
      checkpoint: options.checkpoint,
      every: () => ({ stop: () => Promise.resolve() }),
      signal: options.signal ?? new AbortController().signal,
    },
  );
  return { findings, summary };
}

/** What was found, short: code and nonce, in order. */
export function briefly(findings: readonly Finding[]): readonly string[] {
  return findings.map(({ code, nonce }) => (nonce === undefined ? code : `${code} ${nonce}`));
}

/** A checkpoint in memory. */
export function memoryCheckpoint(): Checkpoint & { readonly text: string | undefined } {
  let text: string | undefined;
  return {
    get text() {
      return text;
    },
    read: () => Promise.resolve(text),
    write: (next) => {
      text = next;
      return Promise.resolve();
    },
    remove: () => {
      text = undefined;
      return Promise.resolve();
    },
  };
}
