import { Plugin } from '@oclif/core';
import { expect } from 'chai';
import { ROOT, readText } from './source-files.js';

interface Shape {
  readonly args: Record<string, unknown>;
  readonly flags: Record<string, unknown>;
}

/** What scripts of operators rely on: a change here is a change of the interface. */
const COMMANDS = {
  'bundles:seal': { args: [], flags: ['json', 'since'] },
  'db:migrate': { args: [], flags: ['dry-run', 'json', 'status'] },
  'disk:check': { args: [], flags: ['json', 'repair'] },
  'migrate-disk': { args: ['range'], flags: ['json', 'restart', 'segments', 'verify'] },
  'outbox:list': { args: [], flags: ['json', 'limit', 'state'] },
  'outbox:requeue': { args: ['process'], flags: ['all', 'json', 'since'] },
  'outbox:retry': { args: ['key'], flags: ['all', 'json'] },
  'routers:check': { args: [], flags: ['fix', 'json', 'sample'] },
  serve: { args: ['mode', 'port'], flags: ['host', 'local', 'su'] },
  'store:copy': { args: [], flags: ['from', 'json', 'parallel', 'to'] },
  verify: {
    args: ['process'],
    flags: ['checkpoint', 'json', 'signatures', 'since', 'store', 'url'],
  },
  'wallet:info': { args: [], flags: ['json', 'local'] },
};

describe('oclif.manifest.json', () => {
  const manifest = JSON.parse(readText('oclif.manifest.json')) as {
    version: string;
    commands: Record<string, Shape>;
  };

  it('is what the built commands say: npm run manifest writes it', async () => {
    const plugin = new Plugin({
      root: ROOT,
      ignoreManifest: true,
      respectNoCacheDefault: true,
      type: 'core',
    });
    await plugin.load();
    expect(JSON.parse(JSON.stringify(plugin.manifest))).to.deep.equal(manifest);
  });

  it('has the commands, arguments and flags that scripts rely on', () => {
    const shapes = Object.entries(manifest.commands).map(([id, { args, flags }]) => [
      id,
      { args: Object.keys(args).toSorted(), flags: Object.keys(flags).toSorted() },
    ]);
    expect(Object.fromEntries(shapes)).to.deep.equal(COMMANDS);
  });
});
