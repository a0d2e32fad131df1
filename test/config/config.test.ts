import { expect } from 'chai';
import { resolve } from 'node:path';
import {
  readMigrationConfig,
  readOperatorConfig,
  readSchedulerConfig,
  readWalletConfig,
} from '../../src/lib/config/config.js';
import { VARIABLES } from '../../src/lib/config/variables.js';
import { SuError } from '../../src/lib/errors.js';

const COMPLETE = {
  SU_WALLET_PATH: '/keys/wallet.json',
  GATEWAY_URL: 'https://gateway.example/',
  UPLOAD_NODE_URL: 'https://bundler.example/base/',
};
const DATABASE_URL = 'postgres://su:s3cret@db.example:5432/su';

const read = (env: Record<string, string>, local = false) => readSchedulerConfig(env, { local });

function problemsOf(act: () => unknown): readonly string[] {
  try {
    act();
  } catch (error) {
    if (!(error instanceof SuError)) throw error;
    expect(error.code).to.equal('invalid-config');
    const { problems } = error.details;
    return (problems as readonly string[] | undefined) ?? [error.message];
  }
  throw new Error('the configuration was accepted');
}

describe('readSchedulerConfig', () => {
  it('gives the documented defaults to what is not set', () => {
    expect(read(COMPLETE)).to.deep.equal({
      mode: 'su',
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
      gateway: {
        graphqlUrl: 'https://gateway.example',
        arweaveUrl: 'https://gateway.example',
        arweaveUrlList: ['https://arweave.net', 'https://g8way.io'],
      },
      uploadUrl: 'https://bundler.example/base',
      cacheUrl: undefined,
      processAssignment: false,
      metricsEnabled: false,
      maxReadMemoryBytes: 67_108_864,
      assignRetryWindowMs: 20_000,
      processCacheSize: 20_000,
      warmupDelayMs: 0,
      blockHeightStaleMs: 60_000,
      blockHeightMaxAgeMs: 3_600_000,
      trustProxy: [],
      guards: {
        routerCheck: undefined,
        processWhitelist: undefined,
        addressWhitelistUrl: undefined,
        sizeLimit: undefined,
        deepHashes: undefined,
        queueMaxPerProcess: 0,
        queueMaxPerOwner: 0,
        tenants: undefined,
      },
      warnings: [],
    });
  });

  it('reads each variable that is set', () => {
    const config = read({
      ...COMPLETE,
      GRAPHQL_URL: 'https://graph.example/graphql',
      ARWEAVE_URL: 'http://node.example:1984',
      ARWEAVE_URL_LIST: ' https://a.example/ , https://b.example ,',
      CACHE_URL: 'https://cache.example',
      DATABASE_URL,
      DATABASE_READ_URL: 'postgresql://replica.example/su',
      DB_WRITE_CONNECTIONS: '3',
      DB_READ_CONNECTIONS: '4',
      PORT: '0',
      ENABLE_PROCESS_ASSIGNMENT: 'TRUE',
      ENABLE_METRICS: '1',
      MAX_READ_MEMORY: '1073741824',
      ASSIGN_RETRY_WINDOW_MS: '0',
      PROCESS_CACHE_SIZE: '7',
      WARMUP_DELAY: '30',
      BLOCK_HEIGHT_STALE_MS: '5',
      BLOCK_HEIGHT_MAX_AGE_MS: '6',
      TRUST_PROXY: '127.0.0.1, 10.0.0.0/8,::1,fd00::/8',
    });
    expect(config.gateway).to.deep.equal({
      graphqlUrl: 'https://graph.example/graphql',
      arweaveUrl: 'http://node.example:1984',
      arweaveUrlList: ['https://a.example', 'https://b.example'],
    });
    expect(config.store).to.deep.equal({
      kind: 'postgres',
      writerUrl: DATABASE_URL,
      readerUrl: 'postgresql://replica.example/su',
      writeConnections: 3,
      readConnections: 4,
    });
    expect(config).to.include({
      port: 0,
      cacheUrl: 'https://cache.example',
      processAssignment: true,
      metricsEnabled: true,
      maxReadMemoryBytes: 1_073_741_824,
      assignRetryWindowMs: 0,
      processCacheSize: 7,
      warmupDelayMs: 30_000,
      blockHeightStaleMs: 5,
      blockHeightMaxAgeMs: 6,
    });
    expect(config.trustProxy).to.deep.equal(['127.0.0.1', '10.0.0.0/8', '::1', 'fd00::/8']);
  });

  it('reads from the writer when no replica is named', () => {
    expect(read({ ...COMPLETE, DATABASE_URL }).store).to.include({ readerUrl: DATABASE_URL });
  });

  it('counts an empty or blank variable as unset', () => {
    const config = read({ ...COMPLETE, DATABASE_URL: '', PORT: '  ', ENABLE_METRICS: '' });
    expect(config).to.include({ port: 9000, metricsEnabled: false });
    expect(config.store.kind).to.equal('embedded');
  });

  it('lets the command line win over the environment', () => {
    const config = readSchedulerConfig(
      { ...COMPLETE, MODE: 'router', PORT: '1' },
      { mode: 'su', port: '8080', host: '::1', local: false },
    );
    expect(config).to.include({ mode: 'su', port: 8080, host: '::1' });
  });

  it('is frozen throughout', () => {
    const config = read({ ...COMPLETE, TRUST_PROXY: '::1' });
    for (const part of [config, config.store, config.gateway, config.trustProxy, config.warnings]) {
      expect(Object.isFrozen(part)).to.equal(true);
    }
  });

  it('reports every problem at once, by name, with the value seen', () => {
    const problems = problemsOf(() =>
      read({ PORT: '70000', ENABLE_METRICS: 'yes', MAX_READ_MEMORY: '1e9', CACHE_URL: 'cache' }),
    );
    expect(problems).to.have.members([
      'PORT: "70000" is not a whole number from 0 to 65535',
      'ENABLE_METRICS: "yes" is not true, false, 1 or 0',
      'MAX_READ_MEMORY: "1e9" is not a whole number from 1 to 17179869184',
      'CACHE_URL: "cache" is not an http:// or https:// URL',
      "SU_WALLET_PATH is not set: the file of the SU's wallet (a JWK)",
      'GATEWAY_URL is not set: the Arweave gateway (nor GRAPHQL_URL and ARWEAVE_URL, which could stand in)',
      'UPLOAD_NODE_URL is not set: the bundler that publishes what is scheduled',
    ]);
  });

  it('hints at --local', () => {
    expect(() => read({})).to.throw(SuError, /su serve su --local/);
  });

  it('needs no GATEWAY_URL when GRAPHQL_URL and ARWEAVE_URL are both set', () => {
    const { GATEWAY_URL: _, ...rest } = COMPLETE;
    const both = { GRAPHQL_URL: 'https://g.example', ARWEAVE_URL: 'https://n.example' };
    expect(read({ ...rest, ...both }).gateway).to.include({ graphqlUrl: 'https://g.example' });
    expect(problemsOf(() => read({ ...rest, GRAPHQL_URL: 'https://g.example' }))).to.deep.equal([
      'GATEWAY_URL is not set: the Arweave gateway (nor ARWEAVE_URL, which could stand in)',
    ]);
  });

  it('shows no password of a database', () => {
    const [problem] = problemsOf(() =>
      read({ ...COMPLETE, DATABASE_URL: 'mysql://su:s3cret@db/su' }),
    );
    expect(problem).to.equal(
      'DATABASE_URL: "mysql://su:***@db/su" is not a postgres:// or postgresql:// URL',
    );
    const [other] = problemsOf(() =>
      read({ ...COMPLETE, DATABASE_URL: 'host=db password=s3cret' }),
    );
    expect(other)
      .to.match(/^DATABASE_URL/)
      .and.not.include('s3cret');
    const [gateway] = problemsOf(() => read({ ...COMPLETE, GATEWAY_URL: 'ftp://su:s3cret@gw' }));
    expect(gateway)
      .to.match(/^GATEWAY_URL/)
      .and.not.include('s3cret');
  });

  it('shows no key that was set in place of its path', () => {
    const [problem] = problemsOf(() =>
      read({ ...COMPLETE, SU_WALLET_PATH: '{"kty":"RSA","d":"s3cret"}' }),
    );
    expect(problem)
      .to.match(/^SU_WALLET_PATH/)
      .and.not.include('s3cret');
  });

  it('refuses each URL, list and address that is none', () => {
    expect(
      problemsOf(() => read({ ...COMPLETE, ARWEAVE_URL_LIST: 'https://a.example,b' }))[0],
    ).to.match(/^ARWEAVE_URL_LIST/);
    expect(problemsOf(() => read({ ...COMPLETE, ARWEAVE_URL_LIST: ',' }))[0]).to.match(
      /at least one URL/,
    );
    expect(
      problemsOf(() => read({ ...COMPLETE, GATEWAY_URL: 'https://a.example/?key=1' }))[0],
    ).to.match(/without query/);
    for (const TRUST_PROXY of ['proxy', '10.0.0.0/33', '::1/129', '10.0.0.0/8/8', '10.0.0.0/']) {
      expect(problemsOf(() => read({ ...COMPLETE, TRUST_PROXY }))[0]).to.match(/^TRUST_PROXY/);
    }
  });

  it('refuses a stale age above the highest age', () => {
    const [problem] = problemsOf(() =>
      read({ ...COMPLETE, BLOCK_HEIGHT_STALE_MS: '7', BLOCK_HEIGHT_MAX_AGE_MS: '6' }),
    );
    expect(problem).to.match(/^BLOCK_HEIGHT_STALE_MS/);
  });

  it('refuses a mode that is none', () => {
    expect(problemsOf(() => read({ ...COMPLETE, MODE: 'cu' }))).to.deep.equal([
      'MODE: "cu" is not su or router',
    ]);
  });

  const ON: Record<string, string> = {
    boolean: 'true',
    'http-url': 'https://list.example',
    'postgres-url': 'postgres://db.example',
    path: '/data',
  };
  for (const [name, variable] of Object.entries(VARIABLES)) {
    if (!('notBuilt' in variable)) continue;
    it(`refuses ${name} when it is switched on, since it is not built yet`, () => {
      const env = { ...COMPLETE, DATABASE_URL, [name]: ON[variable.kind] ?? '' };
      expect(problemsOf(() => read(env))).to.have.lengthOf(1);
      expect(problemsOf(() => read(env))[0]).to.match(new RegExp(`^${name}: .* is not built yet`));
    });
  }

  it('accepts what is not built yet while it is off', () => {
    const off = Object.entries(VARIABLES).filter(([, { kind }]) => kind === 'boolean');
    const env = Object.fromEntries(off.map(([name]) => [name, 'false']));
    expect(
      read({ ...COMPLETE, DATABASE_URL, ...env, MAX_SIZE_OWNER_WHITELIST: 'a,b' }).mode,
    ).to.equal('su');
  });
});

describe('the choice of a store', () => {
  it('takes USE_LOCAL_STORE=true before DATABASE_URL, and warns', () => {
    const config = read({ ...COMPLETE, DATABASE_URL, USE_LOCAL_STORE: 'true' });
    expect(config.store.kind).to.equal('embedded');
    expect(config.warnings).to.deep.equal(['USE_LOCAL_STORE is on: DATABASE_URL set and not used']);
  });

  it('refuses USE_LOCAL_STORE=false without DATABASE_URL', () => {
    expect(problemsOf(() => read({ ...COMPLETE, USE_LOCAL_STORE: 'false' }))[0]).to.match(
      /^USE_LOCAL_STORE/,
    );
    expect(read({ ...COMPLETE, DATABASE_URL, USE_LOCAL_STORE: 'false' }).store.kind).to.equal(
      'postgres',
    );
  });

  it('refuses a disk copy beside the embedded store', () => {
    const problems = problemsOf(() =>
      read({ ...COMPLETE, USE_LOCAL_STORE: 'true', USE_DISK: 'true' }),
    );
    expect(problems.join()).to.include('USE_DISK and USE_LOCAL_STORE are both on');
    expect(problemsOf(() => readOperatorConfig({ USE_DISK: 'true' }))[0]).to.match(
      /^USE_DISK needs DATABASE_URL/,
    );
  });

  it('refuses a replica without a writer', () => {
    expect(problemsOf(() => read({ ...COMPLETE, DATABASE_READ_URL: DATABASE_URL }))[0]).to.match(
      /^DATABASE_READ_URL is set without DATABASE_URL/,
    );
  });

  for (const name of ['SU_FILE_DB_DIR', 'SU_INDEX_DB_DIR']) {
    it(`refuses ${name} without SU_DATA_DIR, where an empty log would fork`, () => {
      expect(problemsOf(() => read({ ...COMPLETE, [name]: '/old' }))[0]).to.match(
        new RegExp(`^${name}.*fork`),
      );
      expect(read({ ...COMPLETE, [name]: '/old', SU_DATA_DIR: '/new' }).dataDir).to.equal('/new');
      expect(read({ ...COMPLETE, [name]: '/old', DATABASE_URL }).store.kind).to.equal('postgres');
    });
  }

  it('accepts a folder whose socket path has 107 bytes, and refuses one more', () => {
    const folder = `/${'d'.repeat(107 - '/'.length - '/su.sock'.length)}`;
    const config = read({ ...COMPLETE, SU_DATA_DIR: folder });
    expect(config.store).to.include({ socketPath: `${folder}/su.sock` });
    const [problem] = problemsOf(() => read({ ...COMPLETE, SU_DATA_DIR: `${folder}d` }));
    expect(problem).to.match(/^SU_DATA_DIR: .* 108 bytes/);
  });
});

describe('--local', () => {
  it('needs nothing and takes nonce 0 for a new process', () => {
    expect(read({}, true)).to.include({
      host: '127.0.0.1',
      local: true,
      walletPath: resolve('su-data', 'wallet.json'),
      gateway: undefined,
      uploadUrl: undefined,
      cacheUrl: undefined,
      processAssignment: true,
    });
  });

  it('names what it does not use in a warning, whatever it holds', () => {
    const config = read({ GATEWAY_URL: 'nonsense', UPLOAD_NODE_URL: 'https://b.example' }, true);
    expect(config.warnings).to.deep.equal([
      '--local uses its own gateway and bundler: GATEWAY_URL, UPLOAD_NODE_URL set and not used',
    ]);
  });

  it('honours the store, the folder, the wallet and the switch that are set', () => {
    const env = { SU_DATA_DIR: '/d', ENABLE_PROCESS_ASSIGNMENT: 'false' };
    expect(read(env, true)).to.include({
      dataDir: '/d',
      walletPath: '/d/wallet.json',
      processAssignment: false,
    });
    expect(read({ SU_WALLET_PATH: '/w.json' }, true).walletPath).to.equal('/w.json');
    expect(read({ DATABASE_URL }, true).store.kind).to.equal('postgres');
  });
});

describe('the configuration of other commands', () => {
  it('asks an operator for the store alone', () => {
    expect(readOperatorConfig({}).store.kind).to.equal('embedded');
    expect(readOperatorConfig({ DATABASE_URL }).store.kind).to.equal('postgres');
  });

  it('asks a migration for DATABASE_URL alone', () => {
    expect(readMigrationConfig({ DATABASE_URL })).to.deep.equal({ databaseUrl: DATABASE_URL });
    expect(problemsOf(() => readMigrationConfig({}))[0]).to.match(/^DATABASE_URL is not set/);
  });

  it('asks wallet:info for the wallet alone', () => {
    expect(readWalletConfig({ SU_WALLET_PATH: '/w.json' }, { local: false }).walletPath).to.equal(
      '/w.json',
    );
    expect(readWalletConfig({}, { local: true }).walletPath).to.equal(
      resolve('su-data', 'wallet.json'),
    );
    expect(problemsOf(() => readWalletConfig({}, { local: false }))[0]).to.match(
      /^SU_WALLET_PATH is not set/,
    );
  });
});
