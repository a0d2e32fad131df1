import { expect } from 'chai';
import { README_TABLES, readmeTable } from '../support/readme-tables.js';
import { readText } from './source-files.js';

describe('README', () => {
  for (const [name, make] of Object.entries(README_TABLES)) {
    it(`has the table of ${name} that the code makes: npm run docs:tables writes it`, () => {
      expect(readmeTable(name)).to.equal(make());
    });
  }

  it('lists every endpoint that is served, and no other', () => {
    const documented = [
      ...(readmeTable('endpoints') ?? '').matchAll(/^\| `([A-Z]+) ([^`?]*)/gm),
    ].map(([, method = '', path = '']) => `${method} ${path.replaceAll(/\{\w+\}/g, ':id')}`);
    const app = readText('src/lib/http/scheduler-app.ts');
    const served = [...app.matchAll(/\b(get|post)\(\s*'([^']+)'/g)].map(
      ([, method = '', path = '']) => `${method.toUpperCase()} ${path}`,
    );
    expect(served).to.have.lengthOf.at.least(8);
    expect(new Set(documented)).to.deep.equal(new Set(served));
  });

  it('names every command', () => {
    const { commands } = JSON.parse(readText('oclif.manifest.json')) as { commands: object };
    for (const id of Object.keys(commands)) expect(readText('README.md')).to.include(`su ${id}`);
  });
});
