import { mkdir, open, readFile, readdir, rename, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { SuError } from '../../errors.js';

/*
 * The folder SU_DATA_DIR: a mark file at the top, RocksDB in `db/`, and beside them what other parts keep there. The
 * mark says that the folder is ours and how it is laid out; a folder without it is never written to. It also says
 * whether the database was ever opened: when it was and `db/` is gone, an empty log must not take its place.
 */

const MARK_NAME = 'su-data.json';
const MARK_UNFINISHED_NAME = 'su-data.json.new';
const DATABASE_NAME = 'db';
const FORMAT = 'su-data';
const LAYOUT = 1;
/** What the file system itself puts into a fresh volume. */
const NOT_COUNTED = new Set(['lost+found', MARK_UNFINISHED_NAME]);

interface Mark {
  readonly format: string;
  readonly layout: number;
  readonly state: 'new' | 'ready';
}

/** A folder that may be used. */
export interface DataFolder {
  /** The top, absolute. */
  readonly path: string;
  readonly databasePath: string;
  /** True until the database was opened for the first time. */
  readonly isNew: boolean;
}

/**
 * Makes sure that `path` is a data folder: makes it when it is missing, marks it when it is empty, and refuses it when it
 * holds anything that is not ours. Killed at any point it leaves nothing that the next call does not complete. Whoever
 * keeps other files in the folder calls this before writing them.
 *
 * @throws SuError `folder-refused` with the way out
 */
export async function prepareDataFolder(path: string): Promise<DataFolder> {
  const top = resolve(path);
  try {
    const made = await mkdir(top, { recursive: true });
    if (made !== undefined) await syncFolder(dirname(top));
    const mark = (await readMark(top)) ?? (await markEmptyFolder(top));
    const databasePath = join(top, DATABASE_NAME);
    const isNew = mark.state === 'new';
    if (!isNew) await assertDatabaseThere(top, databasePath);
    return { path: top, databasePath, isNew };
  } catch (cause) {
    if (cause instanceof SuError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new SuError('folder-refused', `the data folder ${top} cannot be used: ${reason}`, {
      cause,
    });
  }
}

/** Notes that the database of a new folder has been made. */
export async function markReady(folder: DataFolder): Promise<void> {
  if (folder.isNew)
    await writeMark(folder.path, { format: FORMAT, layout: LAYOUT, state: 'ready' });
}

async function readMark(top: string): Promise<Mark | undefined> {
  let text: string;
  try {
    text = await readFile(join(top, MARK_NAME), 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
  const mark = parseMark(text);
  if (mark === undefined) {
    throw refused(top, `its ${MARK_NAME} is not one that su writes`);
  }
  if (mark.layout !== LAYOUT) {
    throw refused(top, `its layout is version ${mark.layout}, and this su knows version ${LAYOUT}`);
  }
  return mark;
}

function parseMark(text: string): Mark | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Not JSON, so not a mark: the caller says so.
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { format, layout, state } = value as Partial<Record<string, unknown>> &
    Record<string, unknown>;
  if (format !== FORMAT || typeof layout !== 'number') return undefined;
  return { format, layout, state: state === 'new' ? 'new' : 'ready' };
}

async function markEmptyFolder(top: string): Promise<Mark> {
  const names = (await readdir(top)).filter((name) => !NOT_COUNTED.has(name));
  if (names.length > 0) {
    const shown = names.slice(0, 3).join(', ');
    throw refused(
      top,
      `it has no ${MARK_NAME} and is not empty (${shown}${names.length > 3 ? ', …' : ''})`,
    );
  }
  const mark: Mark = { format: FORMAT, layout: LAYOUT, state: 'new' };
  await writeMark(top, mark);
  return mark;
}

function refused(top: string, why: string): SuError {
  return new SuError(
    'folder-refused',
    `${top} is not a data folder of this su: ${why}. Nothing in it was changed. ` +
      'Name an empty folder in SU_DATA_DIR; `su migrate-disk` fills it from the database.',
    { details: { folder: top } },
  );
}

async function assertDatabaseThere(top: string, databasePath: string): Promise<void> {
  try {
    await stat(join(databasePath, 'CURRENT'));
  } catch (cause) {
    throw new SuError(
      'folder-refused',
      `the store in ${databasePath} is gone, although ${MARK_NAME} says there was one: restore it from a backup, ` +
        'or name an empty folder in SU_DATA_DIR (an empty log in its place would fork what was scheduled before)',
      { cause, details: { folder: top } },
    );
  }
}

/** Replaces the mark as a whole: a reader sees the old one, or none, or the new one. */
async function writeMark(top: string, mark: Mark): Promise<void> {
  const unfinished = join(top, MARK_UNFINISHED_NAME);
  const file = await open(unfinished, 'w', 0o644);
  try {
    await file.writeFile(`${JSON.stringify(mark)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(unfinished, join(top, MARK_NAME));
  await syncFolder(top);
}

/** A new name is durable only once its folder is flushed. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
