/** What is shown of a finding; the audit's own has the same. */
interface Finding {
  readonly code: string;
  readonly severity: string;
  readonly process: string;
  readonly nonce?: number;
  readonly expected: string;
  readonly found: string;
  readonly also: readonly string[];
}

interface Summary {
  readonly processes: number;
  readonly entries: number;
  readonly signatures: number;
  readonly severities: Readonly<Record<'fault' | 'warning' | 'information', number>>;
  readonly outstanding: { readonly pending: number; readonly parked: number } | undefined;
}

/** One line of `su verify`. */
export function findingLine(finding: Finding): string {
  const { severity, code, process, nonce, expected, found, also } = finding;
  const where = nonce === undefined ? process : `${process} nonce ${nonce}`;
  const consequences = also.length === 0 ? '' : ` (with it: ${also.join(', ')})`;
  return `${severity}  ${code}  ${where}: expected ${expected}, found ${found}${consequences}`;
}

/** The last lines of `su verify`. */
export function summaryLines(summary: Summary, durationMs: number): readonly string[] {
  const { processes, entries, signatures, severities, outstanding } = summary;
  const seconds = (durationMs / 1000).toFixed(1);
  const lines = [
    `${count(processes, 'process', 'processes')}, ${count(entries, 'entry', 'entries')}, ` +
      `${count(signatures, 'signature')} verified in ${seconds} s: ` +
      `${count(severities.fault, 'fault')}, ${count(severities.warning, 'warning')}`,
  ];
  if (outstanding !== undefined && outstanding.pending + outstanding.parked > 0) {
    const { pending, parked } = outstanding;
    lines.push(`still to be published: ${pending} pending, ${parked} parked (su outbox:list)`);
  }
  return lines;
}

function count(number: number, one: string, many = `${one}s`): string {
  return `${number} ${number === 1 ? one : many}`;
}
