import { get, type Agent } from 'node:http';

/** What came, and after how long. */
export interface TimedAnswer {
  readonly ms: number;
  readonly bytes: Buffer;
}

/** Without decoding or parsing, which would cost this program more than a page costs the server. */
export function fetchTimed(url: string, agent: Agent): Promise<TimedAnswer> {
  const begun = performance.now();
  return new Promise((resolve, reject) => {
    get(url, { agent }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const ms = performance.now() - begun;
        if (response.statusCode === 200) resolve({ ms, bytes: Buffer.concat(chunks) });
        else reject(new Error(`${url} answers ${response.statusCode}`));
      });
    }).on('error', reject);
  });
}
