import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, readdir, rename, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { SuError } from '../../errors.js';
import { codeOf } from './database-errors.js';

/*
 * The folder SU_DATA_DIR: a mark file at the top, RocksDB in `db/`, and beside them what other parts keep there. The
 * mark says that the folder is ours and how it is laid out; a folder without it is never written to. It also says
 * whether the database was ever opened: when it was and `db/` is gone, an empty log must not take its place.
 *
 * And it says what the database is: a store, which holds the truth, or a copy of what PostgreSQL holds. A copy may always be
 * behind, and nothing in it can tell: scheduling from it would give nonces out again. So it is never opened as a store;
 * a store that can be opened is made from the database itself. A copy that is gone is only made anew.
 */

const MARK_NAME = 'su-data.json';
/** With the process's id behind it: two programs that begin at one time must not take each other's file. */
const MARK_UNFINISHED_PREFIX = 'su-data.json.new';
const DATABASE_NAME = 'db';
const FORMAT = 'su-data';
/**
 * Since 2 there are stretches (stretch.ts), which a program that does not know them would leave behind where they are wrong; since 3
 * blob files (blob-files.ts), to which it would take references for what they stand for; since 4 the place where the blobs end, which
 * it would leave behind where it is wrong.
 */
const LAYOUT = 4;
const KNOWN_LAYOUTS = [1, 2, 3, LAYOUT];
/** What the file system itself puts into a fresh volume. */
const NOT_COUNTED = new Set(['lost+found']);

/** What the database in a folder is. */
export type FolderUse = 'store' | 'copy';

interface Mark {
  readonly format: string;
  readonly layout: number;
  readonly state: 'new' | 'ready';
  /** Absent until the database is first opened. */
  readonly use?: FolderUse | undefined;
}

/** A folder that may be used. */
export interface DataFolder {
  /** The top, absolute. */
  readonly path: string;
  readonly databasePath: string;
  /** True until the database was opened for the first time; of a copy also when it is gone. */
  readonly isNew: boolean;
  readonly use: FolderUse | undefined;
  /** What the mark says. */
  readonly layout: number;
}

/**
 * Makes sure that `path` is a data folder: makes it when it is missing, marks it when it is empty, and refuses it when it
 * holds anything that is not ours. Killed at any point it leaves nothing that the next call does not complete. Whoever
 * keeps other files in the folder calls this before writing them.
 *
 * @param use what the database in it is to be; left out by those who do not open it
 * @throws SuError `folder-refused` with the way out; it has a `cause` when the disk is the trouble, not the folder
 */
export async function prepareDataFolder(path: string, use?: FolderUse): Promise<DataFolder> {
  const top = resolve(path);
  try {
    const made = await mkdir(top, { recursive: true });
    if (made !== undefined) await syncFolder(dirname(top));
    const found = (await readMark(top)) ?? (await markEmptyFolder(top));
    const mark = use === undefined ? found : await markUse(top, found, use);
    const databasePath = join(top, DATABASE_NAME);
    let isNew = mark.state === 'new';
    if (mark.use === 'copy') isNew ||= !(await isDatabaseThere(databasePath));
    else if (!isNew) await assertDatabaseThere(top, databasePath);
    return { path: top, databasePath, isNew, use: mark.use, layout: mark.layout };
  } catch (cause) {
    if (cause instanceof SuError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new SuError('folder-refused', `the data folder ${top} cannot be used: ${reason}`, {
      cause,
    });
  }
}

/**
 * For commands that look into a folder and must not make one: a mistyped name would read as an empty log.
 *
 * @throws SuError `folder-refused` when it is not one of ours yet
 */
export async function requireDataFolder(path: string): Promise<void> {
  const top = resolve(path);
  if ((await readMark(top)) !== undefined) return;
  throw new SuError(
    'folder-refused',
    `there is no store in ${top} (it has no ${MARK_NAME}): name the data folder of a server, as in SU_DATA_DIR, or a database`,
    { details: { folder: top } },
  );
}

/** Notes that the database of a folder has been made, or that this version has it now and may write what older ones do not know. */
export async function markReady(folder: DataFolder): Promise<void> {
  if (!folder.isNew && folder.layout === LAYOUT) return;
  await writeMark(folder.path, {
    format: FORMAT,
    layout: LAYOUT,
    state: 'ready',
    use: folder.use,
  });
}

/** Before the database is made, so that a copy that was begun is never taken for a store. */
async function markUse(top: string, found: Mark, use: FolderUse): Promise<Mark> {
  // Read once more: another program that begins at the same time may be further.
  const mark = (await readMark(top)) ?? found;
  const known = mark.use ?? (mark.state === 'ready' ? 'store' : undefined);
  if (known === use) return mark;
  if (known === 'copy') {
    throw new SuError(
      'folder-refused',
      `${top} holds a disk copy of a PostgreSQL database, which may be behind it: scheduling from it would fork what the ` +
        'database holds. Nothing in it was changed. `su store:copy` makes an embedded store from the database.',
      { details: { folder: top } },
    );
  }
  if (known === 'store') {
    throw new SuError(
      'folder-refused',
      `${top} holds a log of its own (an embedded store), which must not be mixed with a copy of the database. Nothing in it ` +
        'was changed. Name an empty folder in SU_DATA_DIR; `su migrate-disk` fills it from the database.',
      { details: { folder: top } },
    );
  }
  const marked = { ...mark, use };
  await writeMark(top, marked);
  return marked;
}

async function readMark(top: string): Promise<Mark | undefined> {
  let text: string;
  try {
    text = await readFile(join(top, MARK_NAME), 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  const mark = parseMark(text);
  if (mark === undefined) {
    throw refused(top, `its ${MARK_NAME} is not one that su writes`);
  }
  if (!KNOWN_LAYOUTS.includes(mark.layout)) {
    throw refused(
      top,
      `its layout is version ${mark.layout}, and this su knows versions ${KNOWN_LAYOUTS.join(' and ')}`,
    );
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
  const { format, layout, state, use } = value as Partial<Record<string, unknown>> &
    Record<string, unknown>;
  if (format !== FORMAT || typeof layout !== 'number') return undefined;
  return {
    format,
    layout,
    state: state === 'new' ? 'new' : 'ready',
    ...(use === 'store' || use === 'copy' ? { use } : {}),
  };
}

async function markEmptyFolder(top: string): Promise<Mark> {
  const names = (await readdir(top)).filter(
    (name) => !NOT_COUNTED.has(name) && !name.startsWith(MARK_UNFINISHED_PREFIX),
  );
  if (names.length > 0) {
    // Another program may have begun here at the same time; which of the two goes on is for the database's lock to say.
    const made = await readMark(top);
    if (made !== undefined) return made;
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

async function isDatabaseThere(databasePath: string): Promise<boolean> {
  try {
    await stat(join(databasePath, 'CURRENT'));
    return true;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false;
    throw error;
  }
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
  const unfinished = join(
    top,
    `${MARK_UNFINISHED_PREFIX}.${process.pid}-${randomBytes(3).toString('hex')}`,
  );
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
