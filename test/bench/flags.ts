import { parseArgs } from 'node:util';
import { STORES, type StoreName } from './bench-case.js';

/** What the user asked for. */
export interface Flags {
  readonly isQuick: boolean;
  readonly stores: readonly StoreName[];
  /** Parts of names; none: all cases. */
  readonly cases: readonly string[];
  readonly rounds: number;
  readonly entries: number;
  /** The program that runs the server. */
  readonly node: string;
  readonly data: string | undefined;
  readonly json: string | undefined;
}

const ENTRIES = 1_000_000;
const QUICK_ENTRIES = 9_000;

export const HELP = `npm run bench -- [--quick] [--store embedded|postgres|disk] [--case NAME[,NAME]]
                [--rounds N] [--entries N] [--data DIR] [--node PATH] [--json FILE]

  --quick     the important cases in a short form, on the embedded store and PostgreSQL (under two minutes)
  --store     only this store (default: all three; with --quick the first two)
  --case      only cases with one of these texts in their name
  --rounds    measurements of each case (default 3, with --quick 1)
  --entries   messages of the large log (default ${ENTRIES}, with --quick ${QUICK_ENTRIES}); a tenth as many processes
  --data      keep the large log in this folder, and use the one that is there; PostgreSQL's user must be able to
              enter it. Runs that write to the log make it a little longer.
  --node      the Node that runs the server, and signs for comparison (default: this one)
  --json      write all figures to this file

Needs the built package: npm run build.

Examples:
  npm run bench -- --quick
  npm run bench -- --store postgres --case "64 processes with 32"
  npm run bench -- --case pages,large --data ../su-bench --json pages.json
  npm install --prefix ../node24 node@24
  npm run bench -- --node ../node24/node_modules/node/bin/node --json node24.json
`;

/**
 * Reads the command line.
 *
 * @throws Error naming the flag and what it takes
 */
export function readFlags(args: readonly string[]): Flags | 'help' {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: 'boolean', default: false },
      store: { type: 'string' },
      case: { type: 'string', default: '' },
      rounds: { type: 'string' },
      entries: { type: 'string' },
      data: { type: 'string' },
      node: { type: 'string', default: process.execPath },
      json: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return 'help';
  const isQuick = values.quick;
  return {
    isQuick,
    stores: storesOf(values.store, isQuick),
    cases: casesOf(values.case),
    rounds: wholeNumber('rounds', values.rounds, isQuick ? 1 : 3),
    entries: wholeNumber('entries', values.entries, isQuick ? QUICK_ENTRIES : ENTRIES),
    node: values.node,
    data: values.data,
    json: values.json,
  };
}

function storesOf(store: string | undefined, isQuick: boolean): readonly StoreName[] {
  if (store === undefined) return isQuick ? ['embedded', 'postgres'] : STORES;
  const known = STORES.find((name) => name === store);
  if (known === undefined) throw new Error(`--store ${store}: one of ${STORES.join(', ')}`);
  return [known];
}

/** No name contains a comma. */
function casesOf(text: string): readonly string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

function wholeNumber(flag: string, text: string | undefined, fallback: number): number {
  if (text === undefined) return fallback;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) {
    throw new Error(`--${flag} ${text}: a whole number above 0`);
  }
  return value;
}
