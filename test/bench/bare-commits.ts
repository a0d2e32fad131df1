import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { RocksLevel } from 'rocksdb';

/** Where entries are committed without us, and how large they are. */
export type CommitPlace =
  | {
      readonly kind: 'rocksdb';
      /** An empty folder beside the server's. */
      readonly folder: string;
      /** Of the values of one entry; keys are a hundred bytes. */
      readonly valueBytes: readonly number[];
    }
  | {
      readonly kind: 'postgres';
      readonly url: string;
      readonly jsonBytes: number;
      readonly bundleBytes: number;
    };

/** A store that does nothing but keep entries, each in a commit of its own. */
export interface BareCommits {
  /** Resolves when one more is on disk. */
  commit(): Promise<void>;
  close(): Promise<void>;
}

const KEY_BYTES = 100;

/** Opens such a store: one synced batch an entry, or one insert into a table like the one of the messages. */
export function openBareCommits(place: CommitPlace): Promise<BareCommits> {
  return place.kind === 'rocksdb' ? openRocksdb(place) : openPostgres(place);
}

async function openRocksdb({
  folder,
  valueBytes,
}: Extract<CommitPlace, { kind: 'rocksdb' }>): Promise<BareCommits> {
  const rocks = new RocksLevel(folder, {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
    walCompression: false,
    columns: { default: {} },
  });
  await rocks.open();
  const column = rocks.columns['default'];
  if (column === undefined) throw new Error('the database has no column default');
  return {
    commit: async () => {
      const batch = rocks.batch();
      for (const bytes of valueBytes) {
        batch._put(randomBytes(KEY_BYTES), randomBytes(bytes), { column });
      }
      await batch.write({ sync: true });
      await batch.close();
    },
    close: () => rocks.close(),
  };
}

const CREATE = 'create table if not exists yardstick (like messages including all)';
const INSERT = `insert into yardstick
    (process_id, message_id, assignment_id, epoch, nonce, timestamp, hash_chain, message_data, bundle)
  values ($1, $2, $3, 0, $4, $5, $6, $7, $8)`;

async function openPostgres({
  url,
  jsonBytes,
  bundleBytes,
}: Extract<CommitPlace, { kind: 'postgres' }>): Promise<BareCommits> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(CREATE);
  const json = JSON.stringify({ message: randomBytes(Math.ceil(jsonBytes / 2)).toString('hex') });
  // A log of its own: the places of a log are unique.
  const processId = randomBytes(32).toString('base64url');
  let next = 0;
  return {
    commit: async () => {
      next += 1;
      const ids = [1, 2].map(() => randomBytes(32).toString('base64url'));
      const bundle = randomBytes(bundleBytes);
      const values = [processId, ...ids, next, next, 'b'.repeat(43), json, bundle];
      await client.query({ name: 'yardstick', text: INSERT, values });
    },
    close: () => client.end(),
  };
}
