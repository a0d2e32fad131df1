interface SchedulerLine {
  readonly url: string;
  readonly isListed: boolean;
  readonly isStored: boolean;
  readonly health: string;
  readonly address: string | undefined;
  readonly skewMs: number | undefined;
  readonly latencyMs: number | undefined;
  readonly processCount: number | undefined;
  readonly placements: number;
}

interface ReportLines {
  readonly schedulers: readonly SchedulerLine[];
  readonly sample: {
    readonly asked: number;
    readonly found: number;
    readonly unknown: number;
    readonly elsewhere: number;
    readonly unasked: number;
  };
  readonly findings: readonly {
    readonly level: string;
    readonly scheduler: string | undefined;
    readonly sentence: string;
  }[];
  readonly repaired: readonly {
    readonly url: string;
    readonly from: number;
    readonly to: number;
  }[];
  readonly faults: number;
}

const HEAD = ['scheduler', 'where', 'health', 'latency', 'skew', 'counted', 'placed', 'address'];

/** The report of `su routers:check` for people: a table of the SUs, then what was found, one line each. */
export function routesLines(report: ReportLines): readonly string[] {
  const { sample, findings, repaired, faults } = report;
  const lines = table([HEAD, ...report.schedulers.map(cells)]);
  lines.push(
    '',
    `sample: ${sample.asked} processes, ${sample.found} where they should be, ${sample.unknown} not sent on, ` +
      `${sample.elsewhere} elsewhere, ${sample.unasked} not asked`,
  );
  for (const { url, from, to } of repaired) {
    lines.push(`repaired: ${url} was counted with ${from} processes and has ${to}`);
  }
  for (const { level, scheduler, sentence } of findings) {
    lines.push(`${level}: ${scheduler === undefined ? '' : `${scheduler} `}${sentence}`);
  }
  lines.push(faults === 0 ? 'no fault' : `${faults} fault${faults === 1 ? '' : 's'}`);
  return lines;
}

function cells(scheduler: SchedulerLine): readonly string[] {
  const { url, isListed, isStored, health, latencyMs, skewMs } = scheduler;
  return [
    url,
    isListed ? (isStored ? 'list, database' : 'list') : 'database',
    health,
    latencyMs === undefined ? '–' : `${latencyMs} ms`,
    skewMs === undefined ? '–' : `${skewMs} ms`,
    String(scheduler.processCount ?? '–'),
    String(scheduler.placements),
    scheduler.address ?? '–',
  ];
}

/** Columns as wide as their longest cell. */
function table(rows: readonly (readonly string[])[]): string[] {
  const widths = HEAD.map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  );
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}
