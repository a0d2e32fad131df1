import type { Queryable } from './pool.js';
import {
  BUNDLE_PREFIX_BYTES,
  headOfRow,
  headPlaceOfRow,
  type HeadPlace,
  type HeadRow,
} from './rows.js';
import type { Id } from '../../protocol/ids.js';
import type { Head } from '../../scheduler/ports.js';

/**
 * The last entry of each process by (epoch, nonce), over all rows and the process's own place, which lives in the
 * other table. Reads the (process_id, epoch, nonce) index backwards: one row a process, however long the log. The latest
 * timestamp comes from the other index, in the same way.
 * Only the first bytes of a bundle are unpacked, and with $2 false only where the columns leave something out.
 */
const HEADS = `
  select l.process_id, l.process_epoch, l.process_nonce, l.process_hash_chain, l.process_timestamp,
         l.process_is_head, l.epoch, l.nonce, l.timestamp, l.hash_chain, l.assignment_id,
         case when $2 then (select timestamp from messages
                             where process_id = l.process_id
                             order by timestamp desc limit 1) end as latest_timestamp,
         case when $2 or l.process_is_head or l.assignment_id is null
              then substring(case when l.process_is_head then l.process_bundle else l.bundle end
                             from 1 for ${BUNDLE_PREFIX_BYTES})
         end as prefix
    from (
      select p.process_id, p.epoch as process_epoch, p.nonce as process_nonce,
             p.hash_chain as process_hash_chain, p.timestamp as process_timestamp,
             m.epoch, m.nonce, m.timestamp, m.hash_chain, m.assignment_id,
             m.row_id is null or coalesce((p.epoch, p.nonce) > (m.epoch, m.nonce), false) as process_is_head,
             p.bundle as process_bundle, m.bundle
        from processes p
        left join lateral (
          select row_id, epoch, nonce, timestamp, hash_chain, assignment_id, bundle
            from messages
           where process_id = p.process_id
           order by epoch desc, nonce desc, row_id desc
           limit 1
        ) m on true
       where p.process_id = any($1::text[])
    ) l`;

/** Where each known process's chain stands, as far as an append compares it. */
export async function readHeadPlaces(
  client: Queryable,
  processIds: readonly Id[],
): Promise<ReadonlyMap<string, HeadPlace>> {
  const rows = await readRows(client, processIds, false);
  return new Map(rows.map((row) => [row.process_id, headPlaceOfRow(row)]));
}

/** The head of each known process. */
export async function readHeads(
  client: Queryable,
  processIds: readonly Id[],
): Promise<ReadonlyMap<string, Head>> {
  const rows = await readRows(client, processIds, true);
  return new Map(rows.map((row) => [row.process_id, headOfRow(row)]));
}

async function readRows(
  client: Queryable,
  processIds: readonly Id[],
  withBlockHeight: boolean,
): Promise<readonly HeadRow[]> {
  if (processIds.length === 0) return [];
  const { rows } = await client.query<HeadRow>(HEADS, [processIds, withBlockHeight]);
  return rows;
}
