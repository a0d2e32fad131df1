import type pg from 'pg';
import { openLongConnection } from './connection.js';
import type { StoreLog } from './pool.js';

/** Where the build of an index stands. */
interface Build {
  readonly index: string | null;
  readonly phase: string;
  readonly done: string;
  readonly total: string;
}

const POLL_MS = 2_000;

/**
 * Tells the log every two seconds how far the index has come that the session `pid` builds, until the returned function is
 * called. It looks from a connection of its own, in statements that hold no snapshot: a concurrent build would wait for
 * one. It is a courtesy: when it cannot look, nothing is told.
 *
 * @param pid of the session that migrates
 */
export function watchIndexBuilds(url: string, pid: number, log: StoreLog): () => Promise<void> {
  let client: pg.Client | undefined;
  let looking: Promise<void> = Promise.resolve();
  let told = '';
  const look = async (): Promise<void> => {
    client ??= await openLongConnection(url);
    const { rows } = await client.query<Build>(
      `select index_relid::regclass::text as index, phase,
              greatest(blocks_done, tuples_done) as done, greatest(blocks_total, tuples_total) as total
         from pg_stat_progress_create_index
        where pid = $1`,
      [pid],
    );
    const [build] = rows;
    if (build === undefined) return;
    const percent =
      Number(build.total) === 0
        ? undefined
        : Math.floor((100 * Number(build.done)) / Number(build.total));
    const line = `${build.index} ${build.phase} ${percent}`;
    if (line === told) return;
    told = line;
    const fields = { event: 'index-build', index: build.index, phase: build.phase, percent };
    log.info(fields, 'an index is being built');
  };
  const timer = setInterval(() => {
    looking = looking.then(look).catch(() => undefined);
  }, POLL_MS);
  return async () => {
    clearInterval(timer);
    await looking;
    await client?.end().catch(() => undefined);
  };
}
