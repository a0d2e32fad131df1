import { readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { EXIT_STATUS_MEANINGS, EXIT_STATUSES } from '../../src/lib/cli/base-command.js';
import { type Variable, VARIABLES } from '../../src/lib/config/variables.js';
import { ERROR_STATUS } from '../../src/lib/http/error-status.js';

const README = new URL('../../README.md', import.meta.url);

/** The tables of the README that the code decides, by the name in their `<!-- table: NAME -->` comment. */
export const README_TABLES: Readonly<Record<string, () => string>> = {
  configuration: () =>
    table(['variable', 'default', 'meaning'], Object.entries(VARIABLES).map(variableRow)),
  errors: () =>
    table(
      ['code', 'HTTP', 'exit'],
      Object.entries(ERROR_STATUS)
        .toSorted(([, a], [, b]) => a - b)
        .map(([code, status]) => [
          `\`${code}\``,
          String(status),
          String(EXIT_STATUSES[code as keyof typeof EXIT_STATUSES]),
        ]),
    ),
  exits: () => table(['exit status', 'meaning'], Object.entries(EXIT_STATUS_MEANINGS)),
};

/** The text between a table's comments in the README; undefined when the comments are not there. */
export function readmeTable(
  name: string,
  readme: string = readFileSync(README, 'utf8'),
): string | undefined {
  return tablePattern(name).exec(readme)?.[1]?.trim();
}

function tablePattern(name: string): RegExp {
  return new RegExp(`(?<=<!-- table: ${name} -->\\n)([\\s\\S]*?)(?=<!-- end -->)`);
}

function variableRow([name, variable]: [string, Variable]): readonly string[] {
  const fallback =
    variable.defaultNote ?? (variable.default === undefined ? '–' : variable.default);
  const note = variable.notBuilt === undefined ? '' : '; not built yet: switching it on is refused';
  return [`\`${name}\``, fallback, `${variable.meaning}${note}`];
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), `|${'---|'.repeat(head.length)}`, ...rows.map(line)].join('\n');
}

function writeTables(): void {
  let readme = readFileSync(README, 'utf8');
  for (const [name, make] of Object.entries(README_TABLES)) {
    readme = readme.replace(tablePattern(name), () => `\n${make()}\n\n`);
  }
  writeFileSync(README, readme);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) writeTables();
