import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { makeDiskMetrics, type DiskMetrics } from './disk-metrics.js';
import { CORE_FUNCTIONS, type MetricSources, type Metrics } from './metrics.js';

/** The buckets of the histogram in the field, so that its quantiles stay comparable. */
const CORE_BUCKETS_MS = [
  0, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 5500, 6000, 6500, 7000, 7500, 8000,
];
const DURATION_BUCKETS_MS = [
  1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000,
];
const BATCH_BUCKETS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/** Makes the measurements of one program, in a registry of their own. */
export function makePrometheusMetrics(): Metrics {
  const registry = new Registry();
  const registers = [registry];
  let disk: DiskMetrics | undefined;
  const core = new Histogram({
    name: 'su_core_metrics_duration_milliseconds',
    help: 'Histogram of durations for core metrics functions in milliseconds',
    labelNames: ['function_name'],
    buckets: CORE_BUCKETS_MS,
    registers,
  });
  // A series that appears only with its first measurement looks like a broken scrape to a dashboard.
  for (const name of CORE_FUNCTIONS) core.zero({ function_name: name });
  const saveFailures = new Counter({
    name: 'message_save_failures',
    help: 'message save failure count',
    registers,
  });
  const unreadable = new Counter({
    name: 'su_unreadable_entries_total',
    help: 'Reads that met an entry of the log that is damaged in the store',
    registers,
  });
  const requests = new Counter({
    name: 'su_http_requests_total',
    help: 'HTTP requests answered',
    labelNames: ['method', 'route', 'status'],
    registers,
  });
  const uploads = new Counter({
    name: 'su_uploads_total',
    help: 'Uploads to the bundler by how they ended',
    labelNames: ['outcome'],
    registers,
  });
  const duration = (name: string, help: string): Histogram =>
    new Histogram({ name, help, buckets: DURATION_BUCKETS_MS, registers });
  const ack = duration(
    'su_ack_duration_milliseconds',
    'From a whole request to its durable receipt',
  );
  const sign = duration('su_sign_duration_milliseconds', 'One signature of the wallet');
  const commit = duration('su_commit_duration_milliseconds', 'One commit of a batch of entries');
  const batch = new Histogram({
    name: 'su_commit_batch_entries',
    help: 'Entries in one commit',
    buckets: BATCH_BUCKETS,
    registers,
  });
  return {
    enabled: true,
    observeCore: (name, durationMs) => core.observe({ function_name: name }, durationMs),
    messageSaveFailed: () => saveFailures.inc(),
    entryUnreadable: () => unreadable.inc(),
    observeAck: (durationMs) => ack.observe(durationMs),
    observeSign: (durationMs) => sign.observe(durationMs),
    observeCommit: (entries, durationMs) => {
      batch.observe(entries);
      commit.observe(durationMs);
    },
    uploadEnded: (outcome) => uploads.inc({ outcome }),
    httpAnswered: ({ method, route, status }) =>
      requests.inc({ method: knownMethod(method), route, status }),
    disk: () => (disk ??= makeDiskMetrics(registry)),
    watch: (sources) => watch(registry, sources),
    render: async () => ({ contentType: registry.contentType, text: await registry.metrics() }),
  };
}

const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'OPTIONS']);

/** A client can send any word for a method; each would be a series for ever. */
function knownMethod(method: string): string {
  return METHODS.has(method) ? method : 'other';
}

function watch(registry: Registry, sources: MetricSources): void {
  const { lanes, committer, signing, outbox, blockHeight, lists } = sources;
  const gauge = (name: string, help: string, read: () => number | undefined): void => {
    addGauge(registry, { name, help }, () => ({ '': read() }));
  };
  if (lanes !== undefined) {
    gauge('su_lanes_busy', 'Processes with entries on their way', () => lanes().busy);
    gauge('su_lane_queue_entries', 'Entries waiting in the lanes', () => lanes().waiting);
  }
  if (committer !== undefined) {
    gauge('su_commit_queue_entries', 'Signed entries waiting for the next commit', committer);
  }
  if (signing !== undefined) {
    gauge('su_sign_queue', 'Signatures waiting for a core', () => signing().waiting);
    gauge('su_sign_running', 'Signatures being made', () => signing().running);
  }
  if (outbox !== undefined) {
    const help = 'Entries with uploads still to be made, and those the bundler refused';
    addGauge(registry, { name: 'su_outbox_entries', help, label: 'state' }, async () => {
      const { pending, parked } = await outbox();
      return { pending, parked };
    });
  }
  if (lists !== undefined) watchLists(registry, lists);
  if (blockHeight !== undefined) {
    gauge('su_block_height', 'Block height in use', () => blockHeight()?.height);
    gauge(
      'su_block_height_age_milliseconds',
      'Time since the gateway told the block height',
      () => blockHeight()?.ageMs,
    );
  }
}

function watchLists(registry: Registry, lists: NonNullable<MetricSources['lists']>): void {
  const byName = <Value>(read: (list: ReturnType<typeof lists>[number]) => Value) =>
    Object.fromEntries(lists().map((list) => [list.name, read(list)]));
  addGauge(
    registry,
    {
      name: 'su_list_age_milliseconds',
      help: 'Time since a list that decides who is served was fetched',
      label: 'list',
    },
    () => byName(({ ageMs }) => ageMs),
  );
  addGauge(
    registry,
    {
      name: 'su_list_loaded',
      help: '0 for a list that was never loaded: what it guards is closed',
      label: 'list',
    },
    () => byName(({ loaded }) => Number(loaded)),
  );
}

/** Values by the gauge's label; `''` for a gauge without one. Undefined: not known. */
type GaugeValues = Readonly<Record<string, number | undefined>>;

/** A gauge that is read when the metrics are. What cannot be read has no series, which is not the same as 0. */
function addGauge(
  registry: Registry,
  { name, help, label }: { name: string; help: string; label?: string },
  read: () => GaugeValues | Promise<GaugeValues>,
): void {
  const gauge: Gauge = new Gauge({
    name,
    help,
    labelNames: label === undefined ? [] : [label],
    registers: [registry],
    collect: async () => {
      let values: GaugeValues = {};
      try {
        values = await read();
      } catch {
        // A source that is away (the outbox of a store that is down) must not take the other measurements with it;
        // the missing series and the store's own log line tell.
      }
      gauge.reset();
      if (label === undefined) gauge.remove();
      for (const [key, value] of Object.entries(values)) {
        if (value !== undefined) gauge.set(label === undefined ? {} : { [label]: key }, value);
      }
    },
  });
}
