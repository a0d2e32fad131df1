import { randomBytes } from 'node:crypto';
import { rename, rm } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { join, relative } from 'node:path';
import { SuError } from '../errors.js';

/** What systems take for the path of a socket; macOS has the shortest. */
const SOCKET_PATH_BYTES_MAX = 103;
const NAME = 'lock';
const ATTEMPTS_MAX = 5;

export interface FolderLock {
  /** May be called twice. */
  close(): Promise<void>;
}

/**
 * Keeps other programs out of a folder while this one lives: a unix socket in it, on which nothing is said. Unlike a
 * process id in a file it cannot be mistaken for alive after a crash, also where every program has the id 1; and unlike
 * `flock` it needs no native code.
 *
 * @throws SuError `folder-in-use`, `folder-refused`
 */
export async function lockFolder(folder: string): Promise<FolderLock> {
  const path = socketPath(folder, NAME);
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
    const server = await listenOn(path, folder);
    if (server !== undefined) return lockOf(server);
    if (await isAlive(path)) break;
    if (!(await removeLeftOver(path, folder))) break;
  }
  throw new SuError(
    'folder-in-use',
    `another program uses the local network in ${folder}: stop it first, or name another folder in SU_DATA_DIR`,
    { details: { folder } },
  );
}

function socketPath(folder: string, name: string): string {
  const path = join(folder, name);
  const fromHere = relative(process.cwd(), path);
  const shorter = fromHere.length < path.length ? fromHere : path;
  if (Buffer.byteLength(shorter) <= SOCKET_PATH_BYTES_MAX) return shorter;
  throw new SuError(
    'folder-refused',
    `the path of the socket ${path} is longer than the ${SOCKET_PATH_BYTES_MAX} bytes that systems take: use a shorter SU_DATA_DIR`,
  );
}

function lockOf(server: Server): FolderLock {
  let closed: Promise<void> | undefined;
  return {
    close: () => (closed ??= new Promise((resolve) => server.close(() => resolve()))),
  };
}

/** Undefined when there is such a socket already. */
function listenOn(path: string, folder: string): Promise<Server | undefined> {
  const server = createServer((socket) => socket.destroy());
  // It holds the folder for as long as the program lives, and is no reason for it to live.
  server.unref();
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      if (cause.code === 'EADDRINUSE') resolve(undefined);
      else {
        const sentence = `the folder ${folder} cannot be locked: ${cause.message}`;
        reject(new SuError('folder-refused', sentence, { cause }));
      }
    });
    server.listen(path, () => resolve(server));
  });
}

/** Whether a program listens on the socket. */
function isAlive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT');
    });
  });
}

/**
 * Removes the socket of a program that is gone. Moved aside first and asked once more: of two programs that find it at
 * one time, the slower one would otherwise remove the new socket of the faster one.
 *
 * @returns false when it turned out to be alive
 */
async function removeLeftOver(path: string, folder: string): Promise<boolean> {
  const aside = socketPath(folder, `${NAME}-${randomBytes(3).toString('hex')}`);
  try {
    await rename(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return true;
    throw error;
  }
  if (await isAlive(aside)) {
    await rename(aside, path);
    return false;
  }
  await rm(aside, { force: true });
  return true;
}
