import type { Queryable, StoreLog } from './pool.js';

/** Settings that only the server itself can change, and what is lost without them. */
const NEEDED = [
  { name: 'fsync', danger: 'a crash of the machine can lose or damage acknowledged entries' },
  { name: 'full_page_writes', danger: 'a crash of the machine can damage the tables' },
] as const;

/** Warns of each server setting that takes from an acknowledgement what it promises and that no session can override. */
export async function reportWeakServer(client: Queryable, log: StoreLog): Promise<void> {
  const { rows } = await client.query<{ name: string }>(
    `select name from pg_settings where name = any($1) and setting = 'off'`,
    [NEEDED.map((setting) => setting.name)],
  );
  for (const { name } of rows) {
    const danger = NEEDED.find((setting) => setting.name === name)?.danger;
    log.warn(
      { event: 'database-setting-unsafe', setting: name, danger },
      'a setting of the database server takes from what an acknowledgement promises',
    );
  }
}
