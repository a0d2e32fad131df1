import { SuError } from '../../errors.js';
import type { RawLogWriter, StoredMessage, StoredProcess } from '../../migrator/ports.js';
import { parseMessageBundle, parseProcessBundle, readSpawnPlace } from '../../protocol/bundle.js';
import { sha256 } from '../../protocol/ids.js';
import { renderNode, renderProcessData, toJsonb } from '../../protocol/wire.js';
import { classifyFailure, describe, toStoreError } from './database-errors.js';
import { chunks, placeholders, type Value } from './inserts.js';
import { UnknownCommitError, type DatabasePool, type Queryable } from './pool.js';
import { admitRepeatedNonces } from './unique-nonces.js';

/** Takes rows over from another store; columns and bundles as they came, the JSON columns rendered from the bundles. */
export class PostgresRawLogWriter implements RawLogWriter {
  readonly #pool: DatabasePool;
  #repeatsAdmitted: Promise<void> | undefined;

  constructor(pool: DatabasePool) {
    this.#pool = pool;
  }

  async writeRows(process: StoredProcess, messages: readonly StoredMessage[]): Promise<void> {
    try {
      await this.#pool.transaction(async (client) => {
        await insertProcess(client, process);
        const missing = await findMissing(client, process, messages);
        for (const chunk of chunks(missing.map(messageValues))) {
          await client.query(
            `insert into messages
               (process_id, message_id, assignment_id, epoch, nonce, timestamp, hash_chain, message_data, bundle)
             values ${placeholders(chunk, 1)}`,
            chunk.flat(),
          );
        }
      });
    } catch (error) {
      throw toWriteError(process, error);
    }
  }

  /**
   * Lets rows in that repeat a place, as a log from an old database holds them. The version that keeps nonces unique
   * counts as not applied from then on: migrating afterwards builds it again beside what it finds.
   */
  async admitRepeatedPlaces(): Promise<void> {
    this.#repeatsAdmitted ??= this.#pool
      .transaction(admitRepeatedNonces)
      .catch((error: unknown) => {
        throw toStoreError(error);
      });
    await this.#repeatsAdmitted;
  }
}

/** Locks the process against appends for the rest of the transaction. */
async function insertProcess(client: Queryable, process: StoredProcess): Promise<void> {
  await client.query(
    `insert into processes (process_id, process_data, bundle, epoch, nonce, hash_chain, timestamp)
     values ($1, $2, $3, $4, $5, $6, $7)
     on conflict (process_id) do nothing`,
    processValues(process),
  );
  const { rows } = await client.query<{ same: boolean }>(
    'select bundle = $2 as same from processes where process_id = $1 for no key update',
    [process.processId, process.bundle],
  );
  if (rows[0]?.same === true) return;
  throw new SuError(
    'refused-by-store',
    `process ${process.processId} is in the database already, with another bundle`,
  );
}

/** The messages that are not there yet. */
async function findMissing(
  client: Queryable,
  { processId }: StoredProcess,
  messages: readonly StoredMessage[],
): Promise<readonly StoredMessage[]> {
  const first = messages.at(0);
  const last = messages.at(-1);
  if (first === undefined || last === undefined) return [];
  const { rows } = await client.query<{ epoch: number; nonce: number; digest: Buffer }>(
    `select epoch, nonce, sha256(bundle) as digest
       from messages
      where process_id = $1 and (epoch, nonce) >= ($2::int, $3::int) and (epoch, nonce) <= ($4::int, $5::int)`,
    [processId, first.epoch, first.nonce, last.epoch, last.nonce],
  );
  if (rows.length === 0) return messages;
  const nameOf = (row: { epoch: number; nonce: number }, digest: Uint8Array): string =>
    `${row.epoch}/${row.nonce}/${Buffer.from(digest).toString('hex')}`;
  const wanted = new Map(messages.map((row) => [nameOf(row, sha256(row.bundle)), row]));
  for (const row of rows) {
    if (wanted.delete(nameOf(row, row.digest))) continue;
    throw new SuError(
      'refused-by-store',
      `the database has another message of process ${processId} at epoch ${row.epoch}, nonce ${row.nonce}`,
    );
  }
  return [...wanted.values()];
}

function processValues(process: StoredProcess): Value[] {
  const { processId, bundle, epoch, nonce, hashChain, timestamp } = process;
  const json = rendered(process, () => {
    const stored = parseProcessBundle(bundle);
    const { item, assignment } = stored;
    if (item === undefined) throw new SuError('invalid-data-item', 'its bundle holds no process');
    return renderProcessData({ item, assignment, ...readSpawnPlace(stored) });
  });
  return [
    processId,
    json,
    bundle,
    epoch ?? null,
    nonce ?? null,
    hashChain ?? null,
    timestamp ?? null,
  ];
}

function messageValues(message: StoredMessage): readonly Value[] {
  return [
    message.processId,
    message.messageId,
    message.assignmentId ?? null,
    message.epoch,
    message.nonce,
    message.timestamp,
    message.hashChain,
    rendered(message, () => renderNode(parseMessageBundle(message.bundle))),
    message.bundle,
  ];
}

/** A bundle that cannot be read is copied with the JSON that stood beside it: a copy repairs nothing and loses nothing. */
function rendered(row: StoredProcess | StoredMessage, render: () => string): string {
  try {
    return toJsonb(render());
  } catch (cause) {
    if (row.json !== undefined) return toJsonb(row.json);
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new SuError(
      'refused-by-store',
      `an entry of process ${row.processId} (nonce ${row.nonce ?? 'none'}) has a damaged bundle and no JSON: ${reason}`,
      { cause },
    );
  }
}

function toWriteError(process: StoredProcess, failure: unknown): unknown {
  const error = failure instanceof UnknownCommitError ? failure.cause : failure;
  const kind = classifyFailure(error);
  if (kind !== 'taken' && kind !== 'content') return toStoreError(error);
  return new SuError(
    'refused-by-store',
    `the database refuses rows of process ${process.processId}: ${describe(error)}`,
    { cause: error },
  );
}
