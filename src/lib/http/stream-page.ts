import type { ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import type { ParameterizedContext } from 'koa';
import { invariant } from '../errors.js';
import type { PagePart } from '../scheduler/read-page.js';
import { answerJson } from './answer.js';
import { ANSWER_PIECE_BYTES, piecesOf, type HeldAnswer } from './hold-answers.js';
import type { RequestState } from './request-log.js';

/**
 * Answers with JSON that may be large: in pieces then, so that it is known how fast the client takes it.
 */
export function answerHeldJson(
  ctx: ParameterizedContext<RequestState>,
  bytes: Buffer,
  held: HeldAnswer,
): void {
  answerJson(ctx, bytes);
  if (bytes.length <= ANSWER_PIECE_BYTES) return;
  ctx.body = Readable.from(movingPieces(bytes, held), { objectMode: false });
  ctx.length = bytes.length;
}

function* movingPieces(bytes: Buffer, held: HeldAnswer): Generator<Buffer, void> {
  for (const piece of piecesOf(bytes)) {
    held.moved();
    yield piece;
  }
}

/** What stores read ahead of a long page while it is sent, about. */
const READ_AHEAD_BYTES = 1_048_576;

/**
 * Answers with a page: one that fits a part goes out whole with its length; a longer one part by part, as fast as the
 * client takes it, and the next part is read only then. A failure before the first part is thrown for the error
 * boundary to answer; a later one breaks the connection, so that the client sees a broken answer and not a short page.
 */
export async function answerPage(
  ctx: ParameterizedContext<RequestState>,
  parts: AsyncGenerator<PagePart, void>,
  hold: (bytes: number) => HeldAnswer,
): Promise<void> {
  const { notes } = ctx.state;
  const begun = await parts.next();
  invariant(begun.done !== true, 'a page has at least one part');
  const first = begun.value;
  const note = (part: PagePart): void => {
    notes.edges = part.edges;
    notes.bytes = (notes.bytes ?? 0) + bytesOf(part);
  };
  note(first);
  let held: HeldAnswer;
  try {
    held = hold(bytesOf(first));
  } catch (error) {
    await parts.return();
    throw error;
  }
  if (first.last) {
    answerHeldJson(ctx, Buffer.concat(first.chunks), held);
    first.giveBack();
    return;
  }
  if (ctx.method === 'HEAD') {
    // Reading all of a long page to learn its length would cost as much as sending it.
    await parts.return();
    answerJson(ctx, '');
    ctx.remove('Content-Length');
    ctx.respond = false;
    ctx.res.end();
    return;
  }
  ctx.set('Content-Type', 'application/json');
  ctx.status = 200;
  ctx.respond = false;
  try {
    await sendParts(ctx.res, first, { parts, note, held });
  } finally {
    await parts.return();
  }
  try {
    await finished(ctx.res);
  } catch {
    ctx.state.clientGone = true;
  }
}

interface Sending {
  readonly parts: AsyncGenerator<PagePart, void>;
  readonly note: (part: PagePart) => void;
  readonly held: HeldAnswer;
}

/** Writes all parts, as fast as the client takes them; ends early when it is gone. A failure breaks the connection. */
async function sendParts(
  response: ServerResponse,
  first: PagePart,
  { parts, note, held }: Sending,
): Promise<void> {
  let writing = bytesOf(first);
  held.add(READ_AHEAD_BYTES);
  try {
    await writePieces(response, first, held);
    for await (const part of parts) {
      if (response.destroyed) return;
      note(part);
      held.add(bytesOf(part));
      await writePieces(response, part, held);
      // What was made before this one has left.
      held.remove(writing);
      writing = bytesOf(part);
    }
    response.end();
  } catch (error) {
    response.destroy();
    throw error;
  }
}

/** Writes a part in pieces. A stream in between would cost a page of 4 MB a third of its time. */
async function writePieces(
  response: ServerResponse,
  { chunks, giveBack }: PagePart,
  held: HeldAnswer,
): Promise<void> {
  const groups = groupsOf(chunks);
  for (const group of groups) {
    if (response.destroyed) return;
    held.moved();
    // Called when the system has taken everything up to here, or with an error; then it may still look at some of it.
    const onSent = (error?: Error | null): void => {
      if (group === groups.at(-1) && (error === undefined || error === null)) giveBack();
    };
    if (!writeTogether(response, group, onSent)) await drained(response);
  }
}

/** The pieces of chunks, small ones with those that follow. */
function groupsOf(chunks: readonly Buffer[]): readonly (readonly Buffer[])[] {
  const groups: Buffer[][] = [];
  let bytes = 0;
  for (const piece of chunks.flatMap((chunk) => [...piecesOf(chunk)])) {
    const group = groups.at(-1);
    if (group !== undefined && bytes < ANSWER_PIECE_BYTES) {
      group.push(piece);
    } else {
      groups.push([piece]);
      bytes = 0;
    }
    bytes += piece.length;
  }
  return groups;
}

/** Hands pieces to the system in one call: one for each would cost a tenth of a page's time. False: it takes no more for now. */
function writeTogether(
  response: ServerResponse,
  pieces: readonly Buffer[],
  onSent: (error?: Error | null) => void,
): boolean {
  const { socket } = response;
  // Both: the response alone would write the length of its chunk by itself.
  socket?.cork();
  response.cork();
  let isTaken = true;
  for (const [index, piece] of pieces.entries()) {
    isTaken = response.write(piece, index === pieces.length - 1 ? onSent : undefined);
  }
  response.uncork();
  socket?.uncork();
  return isTaken;
}

function bytesOf({ chunks }: PagePart): number {
  return chunks.reduce((sum, { length }) => sum + length, 0);
}

/** Resolves when the response takes more, or is closed. */
function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.once('drain', done);
    response.once('close', done);
  });
}
