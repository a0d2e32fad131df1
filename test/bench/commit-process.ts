import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { RocksLevel } from 'rocksdb';

/*
 * A program of its own: what a commit of one entry costs in a store without us. Its parent sends one Question at a time
 * and gets the milliseconds of each commit, in the order of their end, and how long all took.
 */
export type CommitQuestion =
  | {
      readonly kind: 'rocksdb';
      /** An empty folder beside the server's. */
      readonly folder: string;
      readonly times: number;
      /** Of the values of one entry; keys are a hundred bytes. */
      readonly valueBytes: readonly number[];
    }
  | {
      readonly kind: 'postgres';
      readonly url: string;
      readonly times: number;
      readonly connections: number;
      readonly jsonBytes: number;
      readonly bundleBytes: number;
    };

export interface CommitAnswer {
  readonly eachMs: readonly number[];
  readonly elapsedMs: number;
}

const WARM_UP = 10;
const KEY_BYTES = 100;

async function timeEach(times: number, work: () => Promise<unknown>): Promise<number[]> {
  const eachMs: number[] = [];
  for (let i = 0; i < times; i += 1) {
    const begun = performance.now();
    await work();
    eachMs.push(performance.now() - begun);
  }
  return eachMs;
}

/** One synced batch an entry. */
async function commitToRocksdb(
  question: Extract<CommitQuestion, { kind: 'rocksdb' }>,
): Promise<CommitAnswer> {
  const rocks = new RocksLevel(question.folder, {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
    walCompression: false,
    columns: { default: {} },
  });
  await rocks.open();
  try {
    const column = rocks.columns['default'];
    if (column === undefined) throw new Error('the database has no column default');
    const commit = async (): Promise<void> => {
      const batch = rocks.batch();
      for (const bytes of question.valueBytes) {
        batch._put(randomBytes(KEY_BYTES), randomBytes(bytes), { column });
      }
      await batch.write({ sync: true });
      await batch.close();
    };
    await timeEach(WARM_UP, commit);
    const begun = performance.now();
    const eachMs = await timeEach(question.times, commit);
    return { eachMs, elapsedMs: performance.now() - begun };
  } finally {
    await rocks.close();
  }
}

/** One insert and one commit an entry, into a table like the one of the messages. */
async function commitToPostgres(
  question: Extract<CommitQuestion, { kind: 'postgres' }>,
): Promise<CommitAnswer> {
  const clients = Array.from(
    { length: question.connections },
    () => new pg.Client({ connectionString: question.url }),
  );
  await Promise.all(clients.map((client) => client.connect()));
  try {
    const [first] = clients;
    await first?.query('create table if not exists yardstick (like messages including all)');
    const text = randomBytes(Math.ceil(question.jsonBytes / 2)).toString('hex');
    const json = JSON.stringify({ message: text });
    // A log of its own: the places of a log are unique.
    const processId = randomBytes(32).toString('base64url');
    let next = 0;
    const insert = async (client: pg.Client): Promise<void> => {
      next += 1;
      await client.query({
        name: 'yardstick',
        text: `insert into yardstick
                 (process_id, message_id, assignment_id, epoch, nonce, timestamp, hash_chain, message_data, bundle)
               values ($1, $2, $3, 0, $4, $5, $6, $7, $8)`,
        values: [
          processId,
          randomBytes(32).toString('base64url'),
          randomBytes(32).toString('base64url'),
          next,
          next,
          'b'.repeat(43),
          json,
          randomBytes(question.bundleBytes),
        ],
      });
    };
    await Promise.all(clients.map((client) => timeEach(WARM_UP, () => insert(client))));
    const begun = performance.now();
    const each = await Promise.all(
      clients.map((client) =>
        timeEach(Math.ceil(question.times / clients.length), () => insert(client)),
      ),
    );
    return { eachMs: each.flat(), elapsedMs: performance.now() - begun };
  } finally {
    await Promise.all(clients.map((client) => client.end()));
  }
}

process.on('message', (question: CommitQuestion) => {
  const committing =
    question.kind === 'rocksdb' ? commitToRocksdb(question) : commitToPostgres(question);
  committing.then(
    (answer) => process.send?.(answer),
    (error: unknown) => {
      throw error;
    },
  );
});
process.on('disconnect', () => process.exit(0));
