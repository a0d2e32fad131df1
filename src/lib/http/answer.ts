import type { Context } from 'koa';

/** Answers with JSON that is already text or UTF-8 bytes; koa adds the length and leaves the body out for HEAD. */
export function answerJson(ctx: Context, json: string | Buffer): void {
  // Set before the body: koa would choose `application/json; charset=utf-8`, clients compare without a charset.
  ctx.set('Content-Type', 'application/json');
  ctx.body = json;
  ctx.status = 200;
}

/** `{"error": sentence}` as JSON text. */
export function errorJson(message: string): string {
  return JSON.stringify({ error: message });
}
