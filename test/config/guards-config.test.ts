import { expect } from 'chai';
import { resolve } from 'node:path';
import { readOperatorConfig, readSchedulerConfig } from '../../src/lib/config/config.js';
import { SuError } from '../../src/lib/errors.js';

const COMPLETE = {
  SU_WALLET_PATH: '/keys/wallet.json',
  GATEWAY_URL: 'https://gateway.example',
  UPLOAD_NODE_URL: 'https://bundler.example',
};

const read = (env: Record<string, string>, local = false) =>
  readSchedulerConfig({ ...COMPLETE, ...env }, { local });

function problemsOf(act: () => unknown): readonly string[] {
  try {
    act();
  } catch (error) {
    if (!(error instanceof SuError)) throw error;
    return error.details['problems'] as readonly string[];
  }
  return [];
}

describe('the configuration of the guards', () => {
  it('reads the folders of the tenants where USE_DISK is on, and wants one then', () => {
    const tenants = {
      PROCESS_WHITELIST_URL: 'https://list.example/processes.json',
      URL: 'https://su7.example/',
      MULTI_TENANT_BASE_CONN: 'postgres://db.example',
      USE_DISK: 'true',
    };
    const { guards } = read({ ...tenants, MULTI_TENANT_BASE_DATA_DIR: 'tenants' });
    expect(guards.tenants?.baseDataDir).to.equal(resolve('tenants'));
    expect(problemsOf(() => read(tenants)).join()).to.include(
      'USE_DISK needs MULTI_TENANT_BASE_DATA_DIR',
    );
  });

  it('reads all of them', () => {
    const { guards, store, warnings } = read({
      ENABLE_ROUTER_CHECK: 'true',
      ENABLE_PROCESS_ASSIGNMENT: 'true',
      ROUTER_URL: 'https://router.example/',
      ASSIGNMENT: '7',
      PROCESS_WHITELIST_URL: 'https://list.example/processes.json?token=x',
      URL: 'https://su7.example/',
      IP_WHITELIST_URL: 'https://list.example/addresses.json',
      TRUST_PROXY: '10.0.0.0/8',
      ENABLE_MESSAGE_MAX_SIZE: 'true',
      MAX_SIZE_OWNER_WHITELIST: 'a, b',
      MAX_SIZE_FROM_WHITELIST: 'c',
      MAX_SIZE_FROM_OWNER_WHITELIST: 'd',
      ENABLE_DEEP_HASH_CHECKS: 'true',
      CURRENT_DEEPHASH_VERSION: '1.2',
      QUEUE_MAX_PER_PROCESS: '100',
      QUEUE_MAX_PER_OWNER: '50',
      MULTI_TENANT_BASE_CONN: 'postgres://db.example',
      MULTI_TENANT_BASE_DATA_DIR: 'tenants',
      DB_WRITE_CONNECTIONS: '3',
    });
    expect(guards).to.deep.equal({
      routerCheck: { routerUrl: 'https://router.example', assignment: '7' },
      processWhitelist: {
        url: 'https://list.example/processes.json?token=x',
        ownUrl: 'https://su7.example',
      },
      addressWhitelistUrl: 'https://list.example/addresses.json',
      sizeLimit: { bytesMax: 102_400, owners: ['a', 'b'], fromProcesses: ['c'], fromOwners: ['d'] },
      deepHashes: { version: '1.2', recalcLimit: 400 },
      queueMaxPerProcess: 100,
      queueMaxPerOwner: 50,
      tenants: {
        baseUrl: 'postgres://db.example',
        baseReaderUrl: 'postgres://db.example',
        baseDataDir: undefined,
        openMax: 16,
      },
    });
    expect(store).to.deep.equal({
      kind: 'postgres',
      writerUrl: 'postgres://db.example',
      readerUrl: 'postgres://db.example',
      writeConnections: 3,
      readConnections: 10,
    });
    expect(warnings).to.deep.equal([
      'MULTI_TENANT_BASE_DATA_DIR is set and has no effect without USE_DISK',
    ]);
  });

  it('leaves them off while only their details are set', () => {
    const { guards } = read({
      ROUTER_URL: 'https://router.example',
      ASSIGNMENT: '7',
      URL: 'https://su7.example',
      MAX_MESSAGE_SIZE_BYTES: '5',
      CURRENT_DEEPHASH_VERSION: '2',
    });
    const { queueMaxPerOwner, queueMaxPerProcess, ...rest } = guards;
    expect(Object.values(rest).every((value) => value === undefined)).to.equal(true);
    expect([queueMaxPerOwner, queueMaxPerProcess]).to.deep.equal([0, 0]);
  });

  for (const [env, problems] of [
    [
      { ENABLE_ROUTER_CHECK: 'true' },
      [
        'ENABLE_ROUTER_CHECK needs ROUTER_URL, which is not set',
        'ENABLE_ROUTER_CHECK needs ASSIGNMENT, which is not set',
      ],
    ],
    [
      { ENABLE_ROUTER_CHECK: 'true', ROUTER_URL: 'https://r.example', ASSIGNMENT: 'su7' },
      ['ASSIGNMENT: "su7" is neither a number N, for https://suN.…, nor a URL'],
    ],
    [
      { PROCESS_WHITELIST_URL: 'https://list.example' },
      ['PROCESS_WHITELIST_URL needs URL, which is not set'],
    ],
    [
      { IP_WHITELIST_URL: 'list.json?key=secret' },
      ['IP_WHITELIST_URL: (not shown: it may hold a key) is not an http:// or https:// URL'],
    ],
    [
      { MULTI_TENANT_BASE_CONN: 'postgres://db.example' },
      [
        'MULTI_TENANT_BASE_CONN needs PROCESS_WHITELIST_URL, which is not set: its list says which tenant a process has',
      ],
    ],
    [
      { MULTI_TENANT_BASE_READ_CONN: 'postgres://db.example' },
      ['MULTI_TENANT_BASE_READ_CONN is set without MULTI_TENANT_BASE_CONN: there are no tenants'],
    ],
    [
      {
        MULTI_TENANT_BASE_CONN: 'postgres://db.example',
        PROCESS_WHITELIST_URL: 'https://list.example',
        URL: 'https://su7.example',
        USE_LOCAL_STORE: 'true',
      },
      ['USE_LOCAL_STORE and MULTI_TENANT_BASE_CONN are both set: tenants are kept in PostgreSQL'],
    ],
  ] as const) {
    it(`refuses ${Object.keys(env).join(' with ')}: ${problems[0]}`, () => {
      expect(problemsOf(() => read(env))).to.deep.equal(problems);
    });
  }

  it('warns of a list of addresses that compares sockets, and of what has no effect', () => {
    expect(read({ IP_WHITELIST_URL: 'https://list.example' }).warnings[0]).to.match(
      /^IP_WHITELIST_URL is set without TRUST_PROXY/,
    );
    const check = { ENABLE_ROUTER_CHECK: 'true', ROUTER_URL: 'https://r.example' };
    const withUrl = { ...check, ASSIGNMENT: 'https://su7.example' };
    expect(read(withUrl).warnings[0]).to.match(/^ENABLE_ROUTER_CHECK is on and has no effect/);
    // With --local process assignments are on unless told otherwise.
    expect(read(withUrl, true).warnings.join()).to.not.match(/ENABLE_ROUTER_CHECK/);
    const tenants = {
      MULTI_TENANT_BASE_CONN: 'postgres://db.example',
      PROCESS_WHITELIST_URL: 'https://list.example',
      URL: 'https://su7.example',
      DATABASE_URL: 'postgres://db.example/su',
    };
    expect(read(tenants).warnings).to.deep.equal([
      'MULTI_TENANT_BASE_CONN is set: DATABASE_URL set and not used',
    ]);
  });

  it('has the operator’s commands name the tenant that they work on', () => {
    const env = { MULTI_TENANT_BASE_CONN: 'postgres://db.example' };
    expect(problemsOf(() => readOperatorConfig(env))[0]).to.match(/^DATABASE_URL is not set: with/);
    const store = readOperatorConfig({ ...env, DATABASE_URL: 'postgres://db.example/one' }).store;
    expect(store).to.include({ writerUrl: 'postgres://db.example/one' });
  });
});
