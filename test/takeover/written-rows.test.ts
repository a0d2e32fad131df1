import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import {
  parseMessageBundle,
  parseProcessBundle,
  type StoredBundle,
} from '../../src/lib/protocol/bundle.js';
import type { DataItem } from '../../src/lib/protocol/data-item.js';
import { findTag, type Tag } from '../../src/lib/protocol/tags.js';
import { ASSIGNED, recordingName, replayConversation } from '../golden/replay.js';
import { emptyDatabase } from '../support/postgres.js';
import { testWallet } from '../support/test-wallet.js';

/*
 * The way back: the reference reads what we write only as far as our rows are made as its own. Both programs were sent the
 * same requests, so their rows are compared one by one, but for what is new each time.
 */

interface Row {
  readonly table: 'processes' | 'messages';
  readonly process_id: string;
  /** Null for a process. */
  readonly message_id: string | null;
  readonly assignment_id: string | null;
  readonly epoch: number | null;
  readonly nonce: number | null;
  readonly timestamp: string | null;
  readonly hash_chain: string | null;
  readonly data: { readonly assignment: Assignment | null } & Readonly<Record<string, unknown>>;
  readonly bundle: Buffer;
  /** Type of each column's value, null where there is none. */
  readonly types: Readonly<Record<string, string | null>>;
}

interface Assignment {
  readonly id: string;
  readonly tags: readonly Tag[];
}

/** Tags of an assignment whose values another run repeats. */
const FIXED_TAGS = new Set([
  'Process',
  'Epoch',
  'Block-Height',
  'Data-Protocol',
  'Type',
  'Variant',
  'Message',
  'Exclude',
]);
const NEW_TEXTS: readonly (readonly [string, RegExp])[] = [
  ['an id', /^[\w-]{43}$/],
  ['a time', /^[0-9]{13}$/],
  ['a nonce', /^[0-9]{1,2}$/],
  ['512 bytes', /^[\w-]{683}$/],
];

describe('the rows that this program writes beside those of the reference', function () {
  this.timeout(120_000);
  before(() => testWallet('scheduler'));

  for (const processAssignment of [true, false]) {
    const name = recordingName(processAssignment);
    it(`have the same columns, JSON and bundles: ${name}`, async () => {
      const recorded = await readDump(name);
      const database = await emptyDatabase();
      try {
        await replayConversation({
          processAssignment,
          storeEnv: () => ({ DATABASE_URL: database.url }),
        });
        const ours = keyed(await readRows(database));
        const [missing, compared] = partition(keyed(recorded), (key) => !ours.has(key));
        // The transaction that was assigned twice within the retry window.
        expect(missing).to.deep.equal([`${recorded[0]?.process_id} ${ASSIGNED.target} 2`]);
        const [added] = partition(ours, (key) => !compared.includes(key));
        // A message with U+0000 and a transaction of the base layer, both of which the reference refused.
        expect(added).to.have.lengthOf(2);
        expect(added.some((key) => key.includes(ASSIGNED.baseLayer))).to.equal(true);
        for (const key of compared) {
          const [one, other] = [ours.get(key) as Row, keyed(recorded).get(key) as Row];
          expect(shapeOf(one), key).to.deep.equal(shapeOf(other));
          expect(disagreements(one), key).to.deep.equal([]);
          expect(disagreements(other), key).to.deep.equal([]);
        }
        for (const key of added) {
          const row = ours.get(key) as Row;
          const like = recorded.find(
            ({ table, data }) =>
              table === row.table && (data['message'] === null) === (row.data['message'] === null),
          );
          expect(row.types, key).to.deep.equal(like?.types);
          expect(keysAndTypes(row.data), key).to.deep.equal(keysAndTypes(like?.data));
          expect(disagreements(row), key).to.deep.equal([]);
        }
      } finally {
        await database.drop();
      }
    });
  }

  it('lie in tables whose columns the reference wrote, with nothing more to fill in', async () => {
    const columns = `select table_name, column_name, data_type, character_maximum_length, is_nullable, column_default
        from information_schema.columns
       where table_schema = 'public' and table_name in ('processes', 'messages', 'schedulers', 'process_schedulers')
       order by table_name, column_name`;
    const dumped = await emptyDatabase(dumpText('with-process-assignment'));
    const ours = await emptyDatabase();
    try {
      const { migrate } = await import('../../src/lib/storage/postgres/migrations.js');
      const { silentLog } = await import('../support/postgres.js');
      await migrate({ url: ours.url, log: silentLog });
      expect(await ours.query(columns)).to.deep.equal(await dumped.query(columns));
    } finally {
      await dumped.drop();
      await ours.drop();
    }
  });
});

function dumpText(name: string): string {
  return readFileSync(new URL(`../vectors/databases/${name}.sql`, import.meta.url), 'utf8');
}

async function readDump(name: string): Promise<readonly Row[]> {
  const database = await emptyDatabase(dumpText(name));
  try {
    return await readRows(database);
  } finally {
    await database.drop();
  }
}

async function readRows(database: {
  query(text: string): Promise<unknown[]>;
}): Promise<readonly Row[]> {
  const types = (columns: readonly string[]): string =>
    `jsonb_build_object(${columns
      .map((name) => `'${name}', case when ${name} is not null then pg_typeof(${name})::text end`)
      .join(', ')}) as types`;
  const place = ['epoch', 'nonce', 'timestamp', 'hash_chain'];
  const processes = await database.query(
    `select 'processes' as table, process_id, null as message_id, null as assignment_id, ${place.join(', ')},
            process_data as data, bundle, ${types(['process_id', 'process_data', 'bundle', ...place])}
       from processes order by row_id`,
  );
  const messages = await database.query(
    `select 'messages' as table, process_id, message_id, assignment_id, ${place.join(', ')},
            message_data as data, bundle,
            ${types(['process_id', 'message_id', 'assignment_id', 'message_data', 'bundle', ...place])}
       from messages order by row_id`,
  );
  return [...processes, ...messages] as Row[];
}

/** By process, message and how many times it was scheduled. */
function keyed(rows: readonly Row[]): ReadonlyMap<string, Row> {
  const byKey = new Map<string, Row>();
  for (const row of rows) {
    const about = `${row.process_id} ${row.message_id ?? 'spawn'}`;
    let time = 1;
    while (byKey.has(`${about} ${time}`)) time += 1;
    byKey.set(`${about} ${time}`, row);
  }
  return byKey;
}

function partition(
  rows: ReadonlyMap<string, Row>,
  test: (key: string) => boolean,
): readonly [string[], string[]] {
  const keys = [...rows.keys()];
  return [keys.filter(test), keys.filter((key) => !test(key))];
}

/** Everything of a row that must be the same in another run: what is new each time is named by its kind. */
function shapeOf(row: Row): unknown {
  const bundle = bundleOf(row);
  return {
    types: row.types,
    epoch: row.epoch,
    hash_chain: row.hash_chain === null ? null : kindOf(row.hash_chain),
    data: shapeOfJson(row.data),
    form: bundle.form,
    wrapper: shapeOfItem(bundle.wrapper),
    assignment: bundle.assignment === undefined ? null : shapeOfItem(bundle.assignment),
    // The posted item is kept byte for byte.
    item: bundle.item === undefined ? null : Buffer.from(bundle.item.bytes).toString('hex'),
  };
}

function bundleOf(row: Row): StoredBundle {
  return row.table === 'processes'
    ? parseProcessBundle(row.bundle)
    : parseMessageBundle(row.bundle);
}

function shapeOfItem(item: DataItem): unknown {
  return {
    type: item.signatureType,
    signature: item.signature.length,
    owner: item.owner.length,
    target: item.target.length,
    anchor: item.anchor.length,
    tags: item.tags.map(shapeOfTag),
  };
}

function shapeOfTag({ name, value }: Tag): unknown {
  const fixed = FIXED_TAGS.has(name) || name.startsWith('Bundle-');
  return { name, value: fixed ? value : kindOf(value) };
}

/** What a client sent stays as it is; what the scheduler made is named by its kind, below `assignment` and as `timestamp`. */
function shapeOfJson(data: Row['data']): unknown {
  const { assignment, ...rest } = data;
  const process = rest['process'] as Record<string, unknown> | undefined;
  return {
    ...rest,
    ...(process === undefined
      ? {}
      : { process: { ...process, timestamp: typeof process['timestamp'] } }),
    assignment: assignment === null ? null : shapeOfAssignment(assignment),
  };
}

function shapeOfAssignment(assignment: Assignment): unknown {
  const { tags, ...rest } = assignment;
  return { ...(keysAndTypes(rest) as object), tags: tags.map(shapeOfTag) };
}

function kindOf(text: string): string {
  return NEW_TEXTS.find(([, pattern]) => pattern.test(text))?.[0] ?? text;
}

/** The keys of a JSON value and the kind of what each holds; the items of a list are not told apart. */
function keysAndTypes(value: unknown): unknown {
  if (Array.isArray(value)) return value.length === 0 ? [] : [keysAndTypes(value[0])];
  if (typeof value !== 'object' || value === null) {
    return typeof value === 'string' && value.length === 683 ? kindOf(value) : typeof value;
  }
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [
      key,
      // An anchor is text or null, as its bytes are.
      key === 'anchor' ? 'anchor' : keysAndTypes(inner),
    ]),
  );
}

/** Where columns, JSON and bundle of a row do not say the same. */
function disagreements(row: Row): readonly string[] {
  const { assignment } = bundleOf(row);
  const shown = row.data.assignment;
  if (assignment === undefined) return shown === null ? [] : ['an assignment in the JSON alone'];
  const said: readonly (readonly [string, unknown, string | undefined])[] = [
    ['id', row.table === 'processes' ? assignment.id : row.assignment_id, shown?.id],
    ['id in the bundle', assignment.id, shown?.id],
    ['epoch', String(row.epoch), findTag(assignment.tags, 'Epoch')],
    ['nonce', String(row.nonce), findTag(assignment.tags, 'Nonce')],
    ['timestamp', row.timestamp, findTag(assignment.tags, 'Timestamp')],
    ['hash chain', row.hash_chain, findTag(assignment.tags, 'Hash-Chain')],
    ['tags', JSON.stringify(shown?.tags), JSON.stringify(assignment.tags)],
  ];
  return said.filter(([, one, other]) => one !== other).map(([what]) => what);
}
