import type { CopiedProcess } from '../../migrator/ports.js';
import { readAssignment } from '../../protocol/assignment.js';
import { readSpawnPlace, type StoredBundle } from '../../protocol/bundle.js';
import type { Id } from '../../protocol/ids.js';
import type { Queryable } from './pool.js';
import { bundleOfProcess, parseInt8, type ProcessRow } from './rows.js';

const PROCESSES_A_PIECE = 200;
/** Of bundles; a larger process is a piece of its own. */
const PIECE_BYTES_MAX = 2 * 1024 * 1024;

/** With what the oldest rows keep in `process_data` alone. */
const PROCESS_COLUMNS = `
  row_id, process_id, bundle, epoch, nonce, timestamp, hash_chain,
  case when timestamp is null then process_data ->> 'timestamp' end as data_timestamp,
  case when timestamp is null then process_data ->> 'block' end as data_block`;

interface CopiedProcessRow extends ProcessRow {
  readonly row_id: number;
  readonly hash_chain: string | null;
}

/** Processes behind a row, in row order, in pieces bounded in bytes. */
export async function* readProcessPieces(
  client: Queryable,
  afterRow: number,
): AsyncGenerator<readonly CopiedProcess[]> {
  for (let after = afterRow; ;) {
    const { rows } = await client.query<CopiedProcessRow>(
      `select ${PROCESS_COLUMNS}
         from (select n.*, sum(octet_length(n.bundle)) over (order by n.row_id) - octet_length(n.bundle) as bytes_before
                 from (select * from processes where row_id > $1
                        order by row_id limit ${PROCESSES_A_PIECE}) n) m
        where bytes_before < ${PIECE_BYTES_MAX}
        order by row_id`,
      [after],
    );
    const last = rows.at(-1);
    if (last === undefined) return;
    yield rows.map(toProcess);
    after = last.row_id;
  }
}

function toProcess(row: CopiedProcessRow): CopiedProcess {
  return {
    processId: row.process_id as Id,
    rank: row.row_id,
    epoch: row.epoch ?? undefined,
    nonce: row.nonce ?? undefined,
    timestamp: row.timestamp === null ? undefined : parseInt8(row.timestamp),
    hashChain: row.hash_chain ?? undefined,
    bundle: row.bundle,
    json: undefined,
    isPlain: isPlain(row),
  };
}

/** Whether the columns say nothing that the bundle does not, so that a copy shows the same. */
function isPlain(row: CopiedProcessRow): boolean {
  if (row.data_timestamp !== null || row.data_block !== null) return false;
  let bundle: StoredBundle;
  try {
    bundle = bundleOfProcess(row);
    if (bundle.item?.id !== row.process_id) return false;
    const { timestamp } = readSpawnPlace(bundle);
    if (row.timestamp !== null && parseInt8(row.timestamp) !== timestamp) return false;
    if (bundle.assignment === undefined) return true;
    const { epoch, nonce } = readAssignment(bundle.assignment);
    return (row.epoch ?? epoch) === epoch && (row.nonce ?? nonce) === nonce;
  } catch {
    // Damaged or of an old form: the database's reader knows how to show it, or what is wrong with it.
    return false;
  }
}

/** One process, undefined when it is not known. */
export async function findProcess(
  client: Queryable,
  processId: Id,
): Promise<CopiedProcess | undefined> {
  const { rows } = await client.query<CopiedProcessRow>(
    `select ${PROCESS_COLUMNS} from processes where process_id = $1`,
    [processId],
  );
  return rows[0] && toProcess(rows[0]);
}
