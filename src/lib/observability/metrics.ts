import type { DiskMetrics } from './disk-metrics.js';

/** The values of `function_name`, as dashboards of Scheduler Units in the field know them. */
export type CoreFunction = (typeof CORE_FUNCTIONS)[number];

/** What `observeCore` measures. */
export const CORE_FUNCTIONS = [
  'get_process',
  'get_message',
  'get_messages',
  'read_message_data',
  'write_item',
  'write_assignment',
  'acquire_write_lock',
] as const;

/** How an upload to the bundler ended. */
export type UploadOutcome = 'accepted' | 'refused' | 'misconfigured' | 'failed';

export interface HttpAnswer {
  readonly method: string;
  /** The route's pattern, never the path: a path would make a series for every id. */
  readonly route: string;
  readonly status: number;
}

/** What is looked at only when somebody asks for the metrics. Each may fail: its series are then left out. */
export interface MetricSources {
  /** Lanes with work, and entries waiting in them. */
  readonly lanes?: () => { readonly busy: number; readonly waiting: number };
  /** Signed entries waiting for the next commit. */
  readonly committer?: () => number;
  /** Signatures waiting for a core, and being made. */
  readonly signing?: () => { readonly waiting: number; readonly running: number };
  readonly outbox?: () => Promise<{ readonly pending: number; readonly parked: number }>;
  readonly blockHeight?: () => { readonly height: number; readonly ageMs: number } | undefined;
  /** The lists that are fetched. */
  readonly lists?: () => readonly {
    readonly name: string;
    readonly loaded: boolean;
    readonly ageMs: number | undefined;
  }[];
}

/** The program's measurements. Every method is cheap, and costs nothing when metrics are off. */
export interface Metrics {
  readonly enabled: boolean;
  observeCore(name: CoreFunction, durationMs: number): void;
  /** An item that was right was not kept. */
  messageSaveFailed(): void;
  /** An entry of the log was met that cannot be read. */
  entryUnreadable(): void;
  /** From the whole request to its durable receipt. */
  observeAck(durationMs: number): void;
  observeSign(durationMs: number): void;
  /** One commit of `entries` entries. */
  observeCommit(entries: number, durationMs: number): void;
  uploadEnded(outcome: UploadOutcome): void;
  httpAnswered(answer: HttpAnswer): void;
  /** The measurements of disk copies; asked for only where there is one. */
  disk(): DiskMetrics;
  /** Adds gauges; each source is named once. */
  watch(sources: MetricSources): void;
  /** The Prometheus text of everything. */
  render(): Promise<{ readonly contentType: string; readonly text: string }>;
}

/**
 * Opens the measurements of one program. What they are made with is loaded only here: it has a sixth of the modules of a server,
 * and most servers that a developer starts need none of it.
 */
export async function openMetrics(options: { readonly enabled: boolean }): Promise<Metrics> {
  if (!options.enabled) return METRICS_OFF;
  const { makePrometheusMetrics } = await import('./prometheus-metrics.js');
  return makePrometheusMetrics();
}

const DISK_METRICS_OFF: DiskMetrics = Object.freeze({
  read: () => {},
  failed: () => {},
  watch: () => () => {},
});

/** Measures nothing. */
export const METRICS_OFF: Metrics = Object.freeze({
  enabled: false,
  observeCore: () => {},
  messageSaveFailed: () => {},
  entryUnreadable: () => {},
  observeAck: () => {},
  observeSign: () => {},
  observeCommit: () => {},
  uploadEnded: () => {},
  httpAnswered: () => {},
  disk: () => DISK_METRICS_OFF,
  watch: () => {},
  render: () => Promise.resolve({ contentType: 'text/plain', text: '' }),
});
