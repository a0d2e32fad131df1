import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'dotenv';
import { SuError } from '../errors.js';
import type { Environment } from './variable-reader.js';

/**
 * The variables of this program: those of its environment, and those of a `.env` file in the folder that are not
 * set there. Nothing is written back to the environment.
 *
 * @throws SuError `invalid-config` when there is a `.env` that cannot be read: to go on without it would start
 *   another configuration than the operator wrote
 */
export function readEnvironment(folder: string = process.cwd()): Environment {
  return { ...readDotEnv(join(folder, '.env')), ...process.env };
}

function readDotEnv(file: string): Environment {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT') return {};
    throw new SuError(
      'invalid-config',
      `.env in the working directory cannot be read (${String(code)})`,
      {
        cause: error,
      },
    );
  }
  return parse(text);
}

/** True when the operator asked for the inside of errors: `DEBUG` is set, as Node's programs know it. */
export function wantsStackTraces(): boolean {
  return (process.env['DEBUG'] ?? '') !== '';
}
