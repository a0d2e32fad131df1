import { readFileSync } from 'node:fs';

const DOCKERFILE = new URL('../../Dockerfile', import.meta.url);

/**
 * The options with which the Docker image starts Node: a server is measured as operators run it.
 *
 * @throws Error when its entry point is not a list of the program, its options and the script
 */
export function imageNodeFlags(): readonly string[] {
  const [, list] = /^ENTRYPOINT (\["node", .*\])$/m.exec(readFileSync(DOCKERFILE, 'utf8')) ?? [];
  if (list === undefined) throw new Error('the Dockerfile has no entry point that starts node');
  return (JSON.parse(list) as readonly string[]).slice(1, -1);
}
