import { Agent, get } from 'node:http';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startPageServer } from './programs.js';
import { median } from './statistics.js';

/** How fast a page comes, against a bare server that sends the same bytes. */
export interface PageFigure {
  readonly bytes: number;
  /** Medians of one request after the other. */
  readonly pageMs: number;
  readonly bareMs: number;
  /** Bytes per second against the bare server's. */
  readonly ofBare: number;
}

/** Asks for the page and for the same bytes from a bare server in turn, so many times. */
export async function measurePage(options: {
  readonly url: string;
  readonly folder: string;
  readonly times: number;
}): Promise<PageFigure> {
  const agent = new Agent({ keepAlive: true });
  const first = await fetchBytes(options.url, agent);
  const file = join(options.folder, 'page.json');
  await writeFile(file, first);
  const bare = await startPageServer(file);
  try {
    const page: number[] = [];
    const plain: number[] = [];
    for (let i = 0; i < options.times + 3; i += 1) {
      const pageMs = await timed(() => fetchBytes(options.url, agent));
      const bareMs = await timed(() => fetchBytes(bare.url, agent));
      // The first three warm up both.
      if (i < 3) continue;
      page.push(pageMs);
      plain.push(bareMs);
    }
    const pageMs = median(page);
    const bareMs = median(plain);
    return { bytes: first.length, pageMs, bareMs, ofBare: bareMs / pageMs };
  } finally {
    agent.destroy();
    bare.close();
  }
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await work();
  return performance.now() - begun;
}

function fetchBytes(url: string, agent: Agent): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    get(url, { agent }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        if (response.statusCode === 200) resolve(Buffer.concat(chunks));
        else reject(new Error(`${url} answers ${response.statusCode}`));
      });
    }).on('error', reject);
  });
}
