import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { listFiles, readText, ROOT } from './source-files.js';

const run = promisify(execFile);
const ALONE = ['package.json', 'README.md', 'CHANGELOG.md', 'LICENSE', 'oclif.manifest.json'];

describe('the npm package', () => {
  it('holds the program, its migrations and its texts, and nothing else', async () => {
    const { stdout } = await run('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
      cwd: ROOT,
    });
    const [pack] = JSON.parse(stdout) as [{ files: readonly { path: string }[] }];
    const paths = pack.files.map(({ path }) => path);
    const rest = paths.filter((path) => !ALONE.includes(path));
    const known =
      /^(bin\/(run|dev)\.js|bin\/package\.json|dist\/.+\.js(\.map)?|migrations\/[\w-]+\/[\w-]+\.sql)$/;
    expect(rest.filter((path) => !known.test(path))).to.deep.equal([]);
    expect(paths).to.include.members([
      ...ALONE,
      'bin/run.js',
      'bin/package.json',
      'dist/lib/cli/main.js',
      'dist/commands/serve.js',
    ]);
    const migrations = listFiles().filter((path) => path.startsWith('migrations/'));
    expect(paths).to.include.members([...migrations]);
  }).timeout(60_000);
});

describe('released migrations', () => {
  // A database in the field has run these very bytes: a change of one is a new migration.
  const released = JSON.parse(readText('test/repository/migration-checksums.json')) as Record<
    string,
    string
  >;

  it('are never edited or removed', () => {
    const sums = Object.keys(released).map((path) => [
      path,
      createHash('sha256').update(readText(path)).digest('hex'),
    ]);
    expect(Object.fromEntries(sums)).to.deep.equal(released);
  });

  it('are all on the list', () => {
    const paths = listFiles().filter((path) => path.startsWith('migrations/'));
    expect(Object.keys(released)).to.have.members([...paths]);
  });
});

describe('the files of the project', () => {
  const texts = listFiles().filter((path) => !path.startsWith('test/vectors/'));

  it('name no folder of a machine', () => {
    const folder = new RegExp(
      `(^|[^\\w.])/(${['work', 'root', 'home', 'srv', 'tmp'].join('|')})/[a-z]`,
      'm',
    );
    const own = new Set(['test/repository/package.test.ts', 'package-lock.json']);
    expect(texts.filter((path) => !own.has(path) && folder.test(readText(path)))).to.deep.equal([]);
  });

  it('name no registry', () => {
    const lock = readText('package-lock.json');
    expect(lock).to.not.match(/"resolved": "https?:/);
  });

  it('leave no test out', () => {
    const narrowed = /\b(it|describe|context)\.(only|skip)\(/;
    const tests = texts.filter((path) => path.startsWith('test/') && path.endsWith('.ts'));
    expect(tests.filter((path) => narrowed.test(readText(path)))).to.deep.equal([]);
  });
});
