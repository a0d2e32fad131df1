import { expect } from 'chai';
import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readEnvironment } from '../../src/lib/config/env.js';
import { SuError } from '../../src/lib/errors.js';

describe('readEnvironment', () => {
  let folder = '';
  const name = 'SU_TEST_OF_DOT_ENV';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'su-env-'));
  });
  afterEach(() => {
    delete process.env[name];
    rmSync(folder, { recursive: true });
  });

  it('reads a .env of the folder, and leaves the process alone', () => {
    writeFileSync(join(folder, '.env'), `${name}="from the file"\n`);
    expect(readEnvironment(folder)[name]).to.equal('from the file');
    expect(process.env[name]).to.equal(undefined);
  });

  it('lets a variable that is set win', () => {
    writeFileSync(join(folder, '.env'), `${name}=file\n`);
    process.env[name] = 'set';
    expect(readEnvironment(folder)[name]).to.equal('set');
  });

  it('needs no .env', () => {
    expect(readEnvironment(folder)[name]).to.equal(undefined);
  });

  it('refuses to start with a .env that it cannot read', () => {
    mkdirSync(join(folder, '.env'));
    expect(() => readEnvironment(folder)).to.throw(
      SuError,
      /^\.env in the working directory cannot be read/,
    );
  });
});
