import { readFileSync } from 'node:fs';

/** One exchange of a recorded conversation. */
export interface RecordedExchange {
  readonly name: string;
  readonly method: string;
  readonly path: string;
  /** Name of the item that was posted. */
  readonly body?: string;
  readonly status: number;
  readonly json?: unknown;
}

/** A row of a recorded `messages` or `processes` table. */
export interface RecordedRow {
  readonly table: 'messages' | 'processes';
  readonly processId: string;
  /** `message_data` or `process_data`. */
  readonly data: unknown;
  readonly bundle: Uint8Array;
}

const VECTORS = new URL('../vectors/', import.meta.url);

function readText(path: string): string {
  return readFileSync(new URL(path, VECTORS), 'utf8');
}

/** The recorded bundles of `bundles/{name}.jsonl`, in order. */
export function readRecordedBundles(name: string): readonly Uint8Array[] {
  return readText(`bundles/${name}.jsonl`)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => Buffer.from((JSON.parse(line) as { bytes: string }).bytes, 'base64url'));
}

/** A recorded item, `items/{name}.bin`. */
export function readRecordedItem(name: string): Uint8Array {
  return readFileSync(new URL(`items/${name}.bin`, VECTORS));
}

/** The exchanges of `golden/{name}.json`, in order. */
export function readRecordedExchanges(name: string): readonly RecordedExchange[] {
  return JSON.parse(readText(`golden/${name}.json`)) as RecordedExchange[];
}

/** The values of one line of `pg_dump --inserts`: null, or the text of a number or a quoted string. */
function readValues(list: string): (string | null)[] {
  const values: (string | null)[] = [];
  for (const match of list.matchAll(/'((?:[^']|'')*)'|[^,\s]+/g)) {
    const quoted = match[1]?.replaceAll("''", "'");
    values.push(quoted ?? (match[0] === 'NULL' ? null : match[0]));
  }
  return values;
}

/** The log's rows of `databases/{name}.sql`, in order of the dump. */
export function readRecordedRows(name: string): readonly RecordedRow[] {
  const inserts = readText(`databases/${name}.sql`).matchAll(
    /^INSERT INTO public\.(messages|processes) VALUES \((.*)\);$/gm,
  );
  return [...inserts].map(([, table, list = '']): RecordedRow => {
    const values = readValues(list);
    const isMessage = table === 'messages';
    return {
      table: isMessage ? 'messages' : 'processes',
      processId: String(values[1]),
      data: JSON.parse(String(values[isMessage ? 3 : 2])),
      bundle: Buffer.from(String(values[isMessage ? 7 : 3]).slice(2), 'hex'),
    };
  });
}
