import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Interfaces } from '@oclif/core';
import { wantsStackTraces } from '../config/env.js';
import { describeFailure } from './base-command.js';
import { catchBrokenOutput } from './broken-output.js';
import { recogniseSystemSu, refuseTopic } from './system-su.js';

/** How an entry in `bin/` starts the program. */
export interface Entry {
  /** The package's folder. */
  readonly root: string;
  /** Where the commands are, from the root; given by the entry that runs the sources. */
  readonly commands?: string;
}

/**
 * Runs the command that the process's arguments name and ends the process with its exit status. A failure is one
 * sentence on stderr, with a stack trace only when DEBUG is set.
 */
export async function runCli(entry: Entry): Promise<never> {
  catchBrokenOutput();
  const { Config, flush, run, settings } = await import('@oclif/core');
  // oclif would look for a TypeScript loader of its own; `bin/dev.js` is started with ours.
  settings.enableAutoTranspile = false;
  let status: number;
  try {
    const config = await Config.load(await loadOptions(entry));
    const argv = helpAsFlag(process.argv.slice(2));
    const topics = config.topics.map((topic) => topic.name);
    const refusal =
      recogniseSystemSu(
        {
          argv,
          name: basename(process.argv[1] ?? ''),
          terminal: process.stdin.isTTY && process.stdout.isTTY,
        },
        [...config.commandIDs, ...topics],
      ) ?? refuseTopic(argv, { topics, commands: config.commandIDs });
    if (refusal === undefined) {
      await run(idAsArgument(argv), config);
      status = Number(process.exitCode ?? 0);
    } else {
      process.stderr.write(`su: ${refusal}\n`);
      status = 2;
    }
  } catch (error) {
    status = report(error);
  }
  await flush();
  process.exit(status);
}

/**
 * The command line knows one plugin, this program: oclif would load others from its data folder, and takes SU_DATA_DIR, where
 * the server's data lies, for that.
 *
 * The manifest describes the built commands; the sources are looked through instead. For that the root is loaded here:
 * oclif minds `ignoreManifest` in a plugin that it is given, and not in the one that it makes of the same options.
 */
async function loadOptions({ root, commands }: Entry): Promise<Interfaces.Options> {
  const plugins = { devPlugins: false, userPlugins: false };
  if (commands === undefined) return { root, ...plugins };
  const { Plugin } = await import('@oclif/core');
  const text = await readFile(join(root, 'package.json'), 'utf8');
  const read = JSON.parse(text) as Interfaces.PJSON;
  const pjson = { ...read, oclif: { ...read.oclif, commands } };
  const plugin = new Plugin({ root, isRoot: true, ignoreManifest: true, pjson });
  await plugin.load();
  return { root, ...plugins, pjson, plugins: new Map([[plugin.name, plugin]]) };
}

function report(error: unknown): number {
  const failure = describeFailure(error);
  if (failure.sentence !== '') process.stderr.write(`su: ${failure.sentence}\n`);
  if (wantsStackTraces() && failure.sentence !== '' && error instanceof Error) {
    process.stderr.write(`${error.stack ?? ''}\n`);
  }
  return failure.status;
}

/** One of 64 ids begins with a hyphen, and is no flag for that. */
function idAsArgument(argv: readonly string[]): string[] {
  const id = argv.find((word) => /^-[\w-]{42}$/.test(word));
  if (id === undefined || argv.includes('--')) return [...argv];
  return [...argv.filter((word) => word !== id), '--', id];
}

/** `su help serve` is `su serve --help`. */
function helpAsFlag(argv: readonly string[]): string[] {
  return argv[0] === 'help' ? [...argv.slice(1), '--help'] : [...argv];
}
