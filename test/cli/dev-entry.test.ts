import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

describe('bin/dev.js', function () {
  this.timeout(60_000);

  it('finds the commands of the sources, whatever an old manifest says', () => {
    const root = mkdtempSync(join(tmpdir(), 'su-dev-'));
    try {
      mkdirSync(join(root, 'bin'));
      for (const file of ['package.json', 'bin/dev.js', 'bin/package.json']) {
        copyFileSync(join(ROOT, file), join(root, file));
      }
      for (const folder of ['src', 'node_modules'])
        symlinkSync(join(ROOT, folder), join(root, folder));
      writeFileSync(join(root, 'oclif.manifest.json'), '{"version": "0.1.0", "commands": {}}');
      const { stdout, stderr, status } = spawnSync(
        process.execPath,
        ['--import', 'tsx', 'bin/dev.js', 'outbox:list', '--help'],
        { cwd: root, env: { PATH: process.env['PATH'] }, encoding: 'utf8' },
      );
      expect([stderr, status]).to.deep.equal(['', 0]);
      expect(stdout).to.include('List what is scheduled and not yet published.');
    } finally {
      rmSync(root, { recursive: true });
    }
  });
});
