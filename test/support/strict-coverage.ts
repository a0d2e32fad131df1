import { readFileSync } from 'node:fs';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';

/*
 * Every line and branch of what decides about bytes, ranges and answers must have run. Read from the report that c8 has just written:
 * to make another one takes it 22 s.
 */

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const STRICT = /^src\/lib\/(?:protocol\/.*|migrator\/range|http\/error-status)\.ts$/;

interface Covered {
  readonly total: number;
  readonly covered: number;
}
type Summary = Readonly<Record<string, { readonly lines: Covered; readonly branches: Covered }>>;

const summary = JSON.parse(
  readFileSync(`${ROOT}coverage/coverage-summary.json`, 'utf8'),
) as Summary;
const strict = Object.entries(summary)
  .map(([path, counts]) => ({ name: relative(ROOT, path), ...counts }))
  .filter(({ name }) => STRICT.test(name));
const missed = strict.filter(
  ({ lines, branches }) => lines.covered < lines.total || branches.covered < branches.total,
);
for (const { name, lines, branches } of missed) {
  process.stderr.write(
    `${name}: ${lines.covered} of ${lines.total} lines and ${branches.covered} of ${branches.total} branches ran, all must\n`,
  );
}
if (strict.length === 0)
  process.stderr.write('no report on the files that must be covered whole\n');
if (missed.length > 0 || strict.length === 0) process.exitCode = 1;
