import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
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
    notes.bytes = (notes.bytes ?? 0) + part.bytes.length;
  };
  note(first);
  let held: HeldAnswer;
  try {
    held = hold(first.bytes.length);
  } catch (error) {
    await parts.return();
    throw error;
  }
  if (first.last) {
    answerHeldJson(ctx, first.bytes, held);
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
  let failure: unknown;
  async function* bytes(): AsyncGenerator<Buffer> {
    try {
      yield* movingPieces(first.bytes, held);
      let earlier = first.bytes.length;
      for await (const part of parts) {
        note(part);
        held.add(part.bytes.length);
        yield* movingPieces(part.bytes, held);
        // What was made before this one has left.
        held.remove(earlier);
        earlier = part.bytes.length;
      }
    } catch (error) {
      failure = error;
      throw error;
    } finally {
      await parts.return();
    }
  }
  try {
    await pipeline(Readable.from(bytes(), { objectMode: false }), ctx.res);
  } catch (error) {
    if (failure !== undefined) throw error;
    ctx.state.clientGone = true;
  }
}
