import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { ROOT } from './source-files.js';

const OXLINT = join(ROOT, 'node_modules', '.bin', 'oxlint');

/** File, text, and the rule that must find it; none: it must pass. */
type Planted = readonly [file: string, text: string, rule?: string];

/** Each line breaks the rule beside it, in the file named. */
const VIOLATIONS = [
  ['src/lib/protocol/planted.ts', "import '../scheduler/submit.js';", 'no-restricted-imports'],
  ['src/lib/protocol/planted.ts', "import 'node:fs';", 'no-restricted-imports'],
  ['src/lib/protocol/planted.ts', 'export const now = Date.now();', 'no-restricted-properties'],
  [
    'src/lib/scheduler/planted.ts',
    "import '../storage/postgres/pool.js';",
    'no-restricted-imports',
  ],
  ['src/lib/scheduler/planted.ts', "import 'node:http';", 'no-restricted-imports'],
  ['src/lib/scheduler/planted.ts', 'export const r = Math.random();', 'no-restricted-properties'],
  [
    'src/lib/uploader/planted.ts',
    "import '../arweave/uploader-client.js';",
    'no-restricted-imports',
  ],
  [
    'src/lib/uploader/planted.ts',
    "import { randomBytes } from 'node:crypto'; randomBytes(1);",
    'no-restricted-imports',
  ],
  ['src/lib/audit/planted.ts', "import '../storage/rocksdb/keys.js';", 'no-restricted-imports'],
  ['src/lib/audit/planted.ts', "import '../migrator/migrate-disk.js';", 'no-restricted-imports'],
  ['src/lib/audit/planted.ts', 'export const now = Date.now();', 'no-restricted-properties'],
  ['src/commands/planted.ts', "import '../lib/audit/findings.js';", 'no-restricted-imports'],
  ['src/lib/storage/postgres/planted.ts', "import '../rocksdb/keys.js';", 'no-restricted-imports'],
  [
    'src/lib/storage/postgres/planted.ts',
    "import '../../scheduler/submit.js';",
    'no-restricted-imports',
  ],
  ['src/lib/storage/rocksdb/planted.ts', "import 'pg';", 'no-restricted-imports'],
  ['src/lib/arweave/planted.ts', "import '../storage/rocksdb/keys.js';", 'no-restricted-imports'],
  ['src/lib/arweave/planted.ts', "import 'koa';", 'no-restricted-imports'],
  ['src/lib/http/planted.ts', "import '../storage/rocksdb/keys.js';", 'no-restricted-imports'],
  ['src/lib/http/planted.ts', "import '../wiring.js';", 'no-restricted-imports'],
  ['src/lib/http/routes/planted.ts', "import '../../arweave/gateway.js';", 'no-restricted-imports'],
  ['src/lib/local-network/planted.ts', "import '../http/listen.js';", 'no-restricted-imports'],
  ['src/lib/wiring.ts', "import './cli/main.js';", 'no-restricted-imports'],
  ['src/commands/planted.ts', "import '../lib/storage/postgres/pool.js';", 'no-restricted-imports'],
  ['src/commands/planted.ts', "import '../../test/support/planted.js';", 'no-restricted-imports'],
  ['src/lib/http/planted.ts', 'export const home = process.env;', 'no-process-env'],
  ['src/lib/http/planted.ts', "console.log('planted');", 'no-console'],
] as const satisfies readonly Planted[];

/** Each line keeps the rules, so that they are known to let something through. */
const KEPT = [
  ['src/lib/scheduler/planted.ts', "import '../protocol/ids.js';"],
  ['src/lib/protocol/planted.ts', "import '../errors.js'; import '../start-worker.js';"],
  ['src/lib/storage/rocksdb/planted.ts', "import '../../start-worker.js';"],
  ['src/lib/storage/postgres/planted.ts', "import 'pg'; import '../../scheduler/ports.js';"],
  ['src/lib/audit/planted.ts', "import '../migrator/ports.js'; import '../protocol/ids.js';"],
  ['src/lib/config/env.ts', 'export const home = process.env;'],
  ['src/commands/planted.ts', "import '../lib/wiring.js'; import '@oclif/core';"],
] as const satisfies readonly Planted[];

describe('the layer rules', () => {
  const cases = [...VIOLATIONS, ...KEPT].map(([file, text, rule], index) => ({
    file: file.replace('planted', `planted-${index}`),
    text,
    rule,
  }));
  let findings: readonly string[] = [];

  /** One run over all of them: each file is on its own, so none hides another. */
  before(async () => {
    const folder = mkdtempSync(join(tmpdir(), 'su-lint-'));
    copyFileSync(join(ROOT, '.oxlintrc.json'), join(folder, '.oxlintrc.json'));
    for (const { file, text } of cases) {
      mkdirSync(join(folder, dirname(file)), { recursive: true });
      writeFileSync(join(folder, file), `${text}\n`);
    }
    findings = (await lint(folder)).split('\n');
    rmSync(folder, { recursive: true });
  });

  for (const { file, text, rule } of cases) {
    it(`${rule === undefined ? 'let pass' : 'find'} ${text} in ${file}`, () => {
      const found = findings.filter((line) => line.startsWith(`${file}:`));
      if (rule === undefined) expect(found.join()).to.not.match(/no-restricted|no-process-env/);
      else expect(found.join()).to.include(`(${rule})`);
    });
  }
});

function lint(folder: string): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(OXLINT, ['--format', 'unix', '.'], { cwd: folder }, (error, stdout, stderr) => {
      // It ends with 1 when it finds something, as it should here.
      if (error !== null && typeof error.code !== 'number') reject(error);
      else resolve(stdout + stderr);
    });
  });
}
