import { once } from 'node:events';

/** Writes a line, and waits while its reader is slow: many lines must not pile up in memory. */
export async function writeLine(
  text: string,
  stream: NodeJS.WritableStream = process.stdout,
): Promise<void> {
  if (!stream.write(`${text}\n`)) await once(stream, 'drain');
}
