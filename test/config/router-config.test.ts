import { expect } from 'chai';
import { resolve } from 'node:path';
import {
  readRouterConfig,
  readRoutesCheckConfig,
  readServeConfig,
} from '../../src/lib/config/router-config.js';
import { SuError } from '../../src/lib/errors.js';

const COMPLETE = { SU_WALLET_PATH: '/keys/wallet.json', SCHEDULER_LIST_PATH: 'schedulers.json' };

function problemsOf(act: () => unknown): readonly string[] {
  try {
    act();
  } catch (error) {
    if (!(error instanceof SuError)) throw error;
    expect(error.code).to.equal('invalid-config');
    return (error.details['problems'] as readonly string[] | undefined) ?? [error.message];
  }
  throw new Error('the configuration was accepted');
}

describe('readRouterConfig', () => {
  const read = (env: Record<string, string>, local = false, su: readonly string[] = []) =>
    readRouterConfig(env, { local, su });

  it('gives the documented defaults to what is not set', () => {
    expect(read(COMPLETE)).to.deep.equal({
      mode: 'router',
      host: '0.0.0.0',
      port: 9000,
      local: false,
      walletPath: '/keys/wallet.json',
      store: {
        kind: 'embedded',
        folder: resolve('su-data'),
        socketPath: resolve('su-data', 'su.sock'),
      },
      dataDir: resolve('su-data'),
      schedulers: { kind: 'file', path: resolve('schedulers.json') },
      forward: 'redirect',
      discover: false,
      gatewayUrl: undefined,
      metricsEnabled: false,
      processCacheSize: 20_000,
      blockHeightStaleMs: 60_000,
      blockHeightMaxAgeMs: 3_600_000,
      trustProxy: [],
      guards: { processWhitelist: undefined, addressWhitelistUrl: undefined },
      warnings: [],
    });
  });

  it('reads what concerns a router', () => {
    const config = read({
      ...COMPLETE,
      ROUTER_FORWARD: 'proxy',
      ROUTER_DISCOVER: 'true',
      GATEWAY_URL: 'https://gateway.example/',
      DATABASE_URL: 'postgres://db.example/su',
      TRUST_PROXY: '10.0.0.0/8',
    });
    expect(config).to.deep.include({
      forward: 'proxy',
      discover: true,
      gatewayUrl: 'https://gateway.example',
      trustProxy: ['10.0.0.0/8'],
    });
    expect(config.store.kind).to.equal('postgres');
    expect(Object.isFrozen(config.schedulers)).to.equal(true);
  });

  it('reads the lists of who may write and what is served; it has no URL of its own on them', () => {
    const lists = {
      IP_WHITELIST_URL: 'http://lists.example/addresses.json',
      PROCESS_WHITELIST_URL: 'http://lists.example/processes.json?all',
    };
    const config = read({ ...COMPLETE, ...lists });
    expect(config.guards).to.deep.equal({
      addressWhitelistUrl: lists.IP_WHITELIST_URL,
      processWhitelist: { url: lists.PROCESS_WHITELIST_URL, ownUrl: undefined },
    });
    expect(config.warnings).to.have.lengthOf(1);
    expect(config.warnings[0]).to.match(/^IP_WHITELIST_URL is set without TRUST_PROXY/);
    expect(read({ ...COMPLETE, ...lists, TRUST_PROXY: '10.0.0.1' }).warnings).to.deep.equal([]);
  });

  it('asks for wallet and list alone, and looks at nothing that only an SU needs', () => {
    const problems = problemsOf(() =>
      read({ ENABLE_DEEP_HASH_CHECKS: 'true', CACHE_URL: 'no url' }),
    );
    expect(problems.map((problem) => problem.split(' ')[0])).to.deep.equal([
      'SU_WALLET_PATH',
      'SCHEDULER_LIST_PATH',
    ]);
  });

  it('takes SUs by URL with --local, in a folder that is not that of an SU', () => {
    const config = read({}, true, ['http://127.0.0.1:9001/', ' http://127.0.0.1:9002']);
    expect(config).to.deep.include({
      host: '127.0.0.1',
      dataDir: resolve('su-router-data'),
      walletPath: resolve('su-router-data', 'wallet.json'),
      schedulers: { kind: 'urls', urls: ['http://127.0.0.1:9001', 'http://127.0.0.1:9002'] },
    });
    expect(read({ SU_DATA_DIR: '/own' }, true, ['http://a']).dataDir).to.equal('/own');
    expect(read({ SCHEDULER_LIST_PATH: '/list' }, true).schedulers).to.deep.equal({
      kind: 'file',
      path: '/list',
    });
  });

  const REFUSED: readonly (readonly [string, () => unknown, RegExp])[] = [
    [
      'another way to forward',
      () => read({ ...COMPLETE, ROUTER_FORWARD: 'tunnel' }),
      /^ROUTER_FORWARD: "tunnel" is not redirect or proxy/,
    ],
    [
      'URLs without --local',
      () => read({ SU_WALLET_PATH: 'w' }, false, ['http://a']),
      /^--su is for --local/,
    ],
    [
      'URLs beside a list',
      () => read(COMPLETE, true, ['http://a']),
      /^SCHEDULER_LIST_PATH and --su both/,
    ],
    ['a URL that is none', () => read({}, true, ['a:b c']), /^--su: "a:b c" is not an http/],
    [
      '--local without any SU',
      () => read({}, true),
      /^SCHEDULER_LIST_PATH is not set: .* or --su URL/,
    ],
    [
      'a list of addresses that is at no URL',
      () => read({ ...COMPLETE, IP_WHITELIST_URL: 'addresses.json' }),
      /^IP_WHITELIST_URL: .* is not/,
    ],
  ];
  for (const [what, act, expected] of REFUSED) {
    it(`refuses ${what}`, () => {
      expect(problemsOf(act)).to.have.lengthOf(1);
      expect(problemsOf(act)[0]).to.match(expected);
    });
  }
});

describe('readServeConfig', () => {
  it('goes by the command line, then MODE, then su', () => {
    const env = { ...COMPLETE, GATEWAY_URL: 'http://g', UPLOAD_NODE_URL: 'http://u' };
    const modeOf = (more: Record<string, string>, mode?: string): string =>
      readServeConfig({ ...env, ...more }, { local: false, mode }).mode;
    expect(modeOf({})).to.equal('su');
    expect(modeOf({ MODE: 'router' })).to.equal('router');
    expect(modeOf({ MODE: 'router' }, 'su')).to.equal('su');
    expect(modeOf({ MODE: 'su' }, 'router')).to.equal('router');
  });

  it('takes a number alone for the port', () => {
    const env = { ...COMPLETE, GATEWAY_URL: 'http://g', UPLOAD_NODE_URL: 'http://u' };
    const options = { local: false, mode: '9100' };
    expect(readServeConfig(env, options)).to.include({ mode: 'su', port: 9100 });
    expect(readServeConfig({ ...env, MODE: 'router' }, options)).to.include({
      mode: 'router',
      port: 9100,
    });
    expect(problemsOf(() => readServeConfig(env, { ...options, port: '1' })).join()).to.include(
      'MODE: "9100"',
    );
  });

  it('refuses --su for an SU', () => {
    const [problem] = problemsOf(() => readServeConfig({}, { local: true, su: ['http://a'] }));
    expect(problem).to.match(/^--su names the SUs of a router/);
  });
});

describe('readRoutesCheckConfig', () => {
  it('needs store, list and wallet', () => {
    expect(readRoutesCheckConfig(COMPLETE)).to.deep.include({
      schedulers: { kind: 'file', path: resolve('schedulers.json') },
      walletPath: '/keys/wallet.json',
    });
    expect(problemsOf(() => readRoutesCheckConfig({}))).to.have.lengthOf(2);
  });
});
