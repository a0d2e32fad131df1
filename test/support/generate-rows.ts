import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { draftAssignment, sealAssignment } from '../../src/lib/protocol/assignment.js';
import { encodeBundle } from '../../src/lib/protocol/bundle.js';
import { encodeDataItem, parseDataItem, type DataItem } from '../../src/lib/protocol/data-item.js';
import { firstLink, nextLink } from '../../src/lib/protocol/hash-chain.js';
import { idToBytes, type Id } from '../../src/lib/protocol/ids.js';
import { renderProcessData } from '../../src/lib/protocol/wire.js';

/*
 * Logs written straight into PostgreSQL, as a server would have left them but for the signatures, which are random: stores
 * verify none. Half of the rows are one log's, the others are spread over many.
 */

const OWNER = randomBytes(512);
/** An Ethereum user's item: with its assignment and wrapper a bundle of about 3 KB. */
const USER = randomBytes(65);
const SMALL_BYTES = 300;
const LARGE_BYTES = 100 * 1024;
const BATCH_ROWS = 500;
const OTHER_LOGS = 20;
const HEIGHT = 1_500_000;
const FIRST_TIME = 1_700_000_000_000;

interface Log {
  readonly processId: Id;
  nonce: number;
  previousId: Id | undefined;
  hashChain: string;
}

/** Fills the tables; returns the long log and how many bytes the bundles have. */
export async function generateRows(
  url: string,
  rows: number,
): Promise<{ readonly processId: Id; readonly bytes: number }> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const [long, ...others] = [await spawn(client), ...(await spawnOthers(client))];
    let bytes = 0;
    for (let done = 0; done < rows; done += BATCH_ROWS) {
      const batch = Array.from({ length: Math.min(BATCH_ROWS, rows - done) }, (_, index) => {
        const other = others[((done + index) >> 1) % others.length];
        return makeRow(
          (done + index) % 2 === 0 || other === undefined ? long : other,
          done + index,
        );
      });
      for (const { bundle } of batch) bytes += bundle.length;
      await insert(client, batch);
    }
    return { processId: long.processId, bytes };
  } finally {
    await client.end();
  }
}

async function spawnOthers(client: pg.Client): Promise<readonly Log[]> {
  const logs: Log[] = [];
  for (let made = 0; made < OTHER_LOGS; made += 1) logs.push(await spawn(client));
  return logs;
}

async function spawn(client: pg.Client): Promise<Log> {
  const item = randomItem(undefined, 'Process', 100);
  const place = {
    processId: item.id,
    epoch: 0,
    nonce: 0,
    hashChain: firstLink(item.id),
    blockHeight: HEIGHT,
    timestamp: FIRST_TIME,
  };
  const assignment = seal({ ...place, messageId: undefined });
  const bundle = encodeBundle({
    owner: OWNER,
    anchor: randomBytes(32),
    items: [assignment, item],
  });
  await client.query(
    `insert into processes (process_id, process_data, bundle, epoch, nonce, hash_chain, timestamp)
     values ($1, $2, $3, 0, 0, $4, $5)`,
    [
      item.id,
      renderProcessData({ item, assignment, ...place }),
      bundle,
      place.hashChain,
      FIRST_TIME,
    ],
  );
  return { processId: item.id, nonce: 0, previousId: assignment.id, hashChain: place.hashChain };
}

interface Row {
  readonly processId: Id;
  readonly messageId: Id;
  readonly assignmentId: Id;
  readonly nonce: number;
  readonly timestamp: number;
  readonly hashChain: string;
  readonly bundle: Uint8Array;
}

/** One in a hundred is large. */
function makeRow(log: Log, index: number): Row {
  const size = index % 100 === 50 ? LARGE_BYTES : SMALL_BYTES + (index % 200);
  const item = randomItem(log.processId, 'Message', size);
  log.nonce += 1;
  log.hashChain =
    log.previousId === undefined
      ? firstLink(log.processId)
      : nextLink(log.previousId, log.hashChain);
  const { processId, nonce, hashChain } = log;
  const timestamp = FIRST_TIME + nonce * 7;
  const place = { processId, epoch: 0, nonce, hashChain, blockHeight: HEIGHT, timestamp };
  const assignment = seal({ ...place, messageId: item.id });
  log.previousId = assignment.id;
  const bundle = encodeBundle({ owner: OWNER, anchor: randomBytes(32), items: [assignment, item] });
  return {
    processId,
    messageId: item.id,
    assignmentId: assignment.id,
    nonce,
    timestamp,
    hashChain,
    bundle,
  };
}

function seal(
  place: Omit<Parameters<typeof draftAssignment>[0], 'owner' | 'anchor' | 'exclude'>,
): DataItem {
  const draft = draftAssignment({
    ...place,
    owner: OWNER,
    exclude: [],
    anchor: randomBytes(32),
  });
  return sealAssignment(draft, randomBytes(512));
}

function randomItem(target: Id | undefined, type: string, dataBytes: number): DataItem {
  const bytes = encodeDataItem(
    {
      signatureType: 3,
      signature: randomBytes(65),
      owner: USER,
      target: target === undefined ? undefined : idToBytes(target),
      anchor: undefined,
      tags: [
        { name: 'Data-Protocol', value: 'ao' },
        { name: 'Type', value: type },
        { name: 'Variant', value: 'ao.TN.1' },
      ],
    },
    Buffer.from(
      randomBytes(Math.ceil(dataBytes * 0.75))
        .toString('base64')
        .slice(0, dataBytes),
    ),
  );
  return parseDataItem(bytes, 'stored');
}

async function insert(client: pg.Client, rows: readonly Row[]): Promise<void> {
  await client.query(
    `insert into messages (process_id, message_id, assignment_id, epoch, nonce, timestamp, hash_chain, message_data, bundle)
     select p, m, a, 0, n, t, h, '{"message": {}}', b
       from unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::bigint[], $6::text[], $7::bytea[])
            as r (p, m, a, n, t, h, b)`,
    [
      rows.map(({ processId }) => processId),
      rows.map(({ messageId }) => messageId),
      rows.map(({ assignmentId }) => assignmentId),
      rows.map(({ nonce }) => nonce),
      rows.map(({ timestamp }) => timestamp),
      rows.map(({ hashChain }) => hashChain),
      rows.map(({ bundle }) => bundle),
    ],
  );
}
