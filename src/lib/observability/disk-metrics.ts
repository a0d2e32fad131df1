import { Counter, Gauge, type Registry } from 'prom-client';

/** What a disk copy tells of itself when somebody asks. */
export interface DiskState {
  readonly isOpen: boolean;
  readonly isCaughtUp?: boolean;
  readonly isStalled?: boolean;
  readonly logsBehind?: number;
  readonly queueBytes?: number;
  readonly entriesCopied?: number;
}

/** The measurements of a disk copy. */
export interface DiskMetrics {
  /** Where the answer of a read came from. */
  read(from: 'disk' | 'database' | 'both'): void;
  failed(): void;
  /** Counts a copy in until what is returned is called. */
  watch(read: () => DiskState): () => void;
}

/** Makes the measurements of disk copies in a registry; there are none without a copy. */
export function makeDiskMetrics(registry: Registry): DiskMetrics {
  const registers = [registry];
  const reads = new Counter({
    name: 'su_disk_reads_total',
    help: 'Reads by where their answer came from: the disk copy, the database, or both',
    labelNames: ['from'],
    registers,
  });
  const failures = new Counter({
    name: 'su_disk_failures_total',
    help: 'Times that the disk copy could not be opened, read or written',
    registers,
  });
  const watched = new Set<() => DiskState>();
  addGauges(registers, watched);
  return {
    read: (from) => reads.inc({ from }),
    failed: () => failures.inc(),
    watch(read) {
      watched.add(read);
      return () => void watched.delete(read);
    },
  };
}

/** Of all copies together: tenants have one each. */
function addGauges(registers: Registry[], watched: ReadonlySet<() => DiskState>): void {
  const gauge = (name: string, help: string, value: (state: DiskState) => number): void => {
    const made: Gauge = new Gauge({
      name,
      help,
      registers,
      collect: () => made.set([...watched].reduce((sum, read) => sum + value(read()), 0)),
    });
  };
  gauge('su_disk_open', 'Disk copies in use', ({ isOpen }) => Number(isOpen));
  gauge(
    'su_disk_stalled',
    'Disk copies whose last write failed, as on a full disk: nothing is copied until one succeeds',
    ({ isStalled }) => Number(isStalled === true),
  );
  gauge(
    'su_disk_logs_behind',
    'Processes whose copy is known to be behind the database',
    ({ logsBehind }) => logsBehind ?? 0,
  );
  gauge(
    'su_disk_queue_bytes',
    'Bytes of committed entries that wait to be written to the disk copy',
    ({ queueBytes }) => queueBytes ?? 0,
  );
  gauge(
    'su_disk_entries_copied',
    'Entries written to the disk copy since the start',
    ({ entriesCopied }) => entriesCopied ?? 0,
  );
}
