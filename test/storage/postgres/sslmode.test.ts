import { once } from 'node:events';
import { chownSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { expect } from 'chai';
import { openLongConnection } from '../../../src/lib/storage/postgres/connection.js';
import { openCopySources } from '../../../src/lib/storage/postgres/copy-source.js';
import { NegotiatedStream } from '../../../src/lib/storage/postgres/negotiated-stream.js';
import { DatabasePool } from '../../../src/lib/storage/postgres/pool.js';
import {
  createDatabase,
  silentLog,
  startPostgres,
  type TestDatabase,
  type TestServer,
} from '../../support/postgres.js';
import { waitFor } from '../../support/su-process.js';
import { TEST_CERTIFICATE, TEST_CERTIFICATE_KEY } from '../../support/test-certificate.js';

describe('sslmode in the address of PostgreSQL', function () {
  this.timeout(60_000);
  let server: TestServer;
  let database: TestDatabase;

  before(async () => {
    server = await startPostgres();
    database = await createDatabase(server, 'template0');
  });
  after(() => server.destroy());

  const urlWith = (query: string): string => `${database.url}?${query}`;

  /** Whether a connection with this query is encrypted, or why there is none. */
  async function outcomeOf(query: string): Promise<string> {
    try {
      const client = await openLongConnection(urlWith(query));
      try {
        const { rows } = await client.query<{ ssl: boolean }>(
          'select ssl from pg_stat_ssl where pid = pg_backend_pid()',
        );
        return rows[0]?.ssl === true ? 'encrypted' : 'plain';
      } finally {
        await client.end();
      }
    } catch (error) {
      return (error as Error).message;
    }
  }

  describe('of a server without TLS', () => {
    for (const mode of ['prefer', 'allow', 'disable', 'prefer&uselibpqcompat=true']) {
      it(`${mode} connects`, async () => {
        expect(await outcomeOf(`sslmode=${mode}`)).to.equal('plain');
      });
    }

    for (const mode of ['require', 'verify-full']) {
      it(`${mode} connects to nothing`, async () => {
        expect(await outcomeOf(`sslmode=${mode}`)).to.match(/does not support SSL/);
      });
    }

    it('prefer is good for pools and for what is copied, whatever its size', async () => {
      const options = { url: urlWith('sslmode=prefer'), connections: 3, clock: Date.now };
      const pool = new DatabasePool({ ...options, name: 'test', log: silentLog });
      const text = 'x'.repeat(5_000_000);
      const lengths = await Promise.all(
        [1, 2, 3, 4].map(async () => {
          const result = await pool.query<{ text: string }>('select $1::text || $1 as text', [
            text,
          ]);
          return result.rows[0]?.text.length;
        }),
      );
      expect(lengths).to.deep.equal([10_000_000, 10_000_000, 10_000_000, 10_000_000]);
      let rows = 0;
      await pool.copy('copy (select generate_series(1, 10000)) to stdout (format binary)', () => {
        rows += 1;
      });
      expect(rows).to.equal(10_000);
      await pool.query('create table messages (row_id serial primary key)');
      const sources = openCopySources({ ...options, log: silentLog });
      expect(await sources.rows.countRows({ after: 0, through: 9 })).to.equal(0);
      await sources.close();
      await pool.close();
    });

    it('prefer says what the driver says when nothing is there, a password is wrong, or the server goes', async () => {
      const client = await openLongConnection(urlWith('sslmode=prefer'));
      const lost = new Promise((resolve) => client.once('error', resolve));
      await server.stop('immediate');
      expect(((await lost) as Error).message).to.match(/terminat|ECONNRESET/);
      await client.end();
      expect(await outcomeOf('sslmode=prefer')).to.match(/ECONNREFUSED/);
      await server.start();
      expect(await outcomeOf('sslmode=prefer&user=nobody')).to.match(/"nobody" does not exist/);
    });
  });

  describe('of a server with TLS', () => {
    let folder: string;

    /** Says how the server takes connections: `host` any, `hostssl` encrypted ones, `hostnossl` others. */
    async function take(kind: 'host' | 'hostssl' | 'hostnossl', minVersion = 'TLSv1.2') {
      const rules = `${kind} all all 127.0.0.1/32 trust\n${kind} replication all 127.0.0.1/32 trust\n`;
      writeFileSync(join(folder, 'pg_hba.conf'), rules);
      const client = await openLongConnection(urlWith('sslmode=prefer'));
      await client.query(`alter system set ssl_min_protocol_version = '${minVersion}'`);
      await client.query(
        `alter system set ssl_max_protocol_version = '${minVersion === 'TLSv1' ? 'TLSv1' : 'TLSv1.3'}'`,
      );
      await client.query('select pg_reload_conf()');
      await client.end();
    }

    before(async () => {
      const [row] = await database.query<{ data_directory: string }>('show data_directory');
      folder = row?.data_directory ?? '';
      const { uid, gid } = statSync(folder);
      for (const [name, text] of [
        ['server.crt', TEST_CERTIFICATE],
        ['server.key', TEST_CERTIFICATE_KEY],
      ] as const) {
        writeFileSync(join(folder, name), text, { mode: 0o600 });
        chownSync(join(folder, name), uid, gid);
      }
      await database.query('alter system set ssl = on');
      await database.query('select pg_reload_conf()');
      await until('sslmode=require', 'encrypted');
    });

    /** A reload takes the server a moment. */
    const until = (query: string, outcome: string | RegExp): Promise<true> =>
      waitFor(
        async () => (new RegExp(outcome).test(await outcomeOf(query)) ? true : undefined),
        () => `${query} is not ${outcome}`,
      );

    it('prefer and require encrypt without asking who signed the certificate, verify-full asks', async () => {
      expect(await outcomeOf('sslmode=prefer')).to.equal('encrypted');
      expect(await outcomeOf('sslmode=require')).to.equal('encrypted');
      expect(await outcomeOf('sslmode=verify-full')).to.match(/certificate/);
      for (const mode of ['allow', 'disable']) {
        expect(await outcomeOf(`sslmode=${mode}`), mode).to.equal('plain');
      }
    });

    it('allow encrypts where the server takes nothing else', async () => {
      await take('hostssl');
      await until('sslmode=disable', 'no encryption');
      expect(await outcomeOf('sslmode=allow')).to.equal('encrypted');
      expect(await outcomeOf('sslmode=prefer')).to.equal('encrypted');
      await take('host');
      await until('sslmode=disable', 'plain');
    });

    it('prefer goes on without TLS where the server takes nothing else, or only versions that are too old', async () => {
      await take('hostnossl');
      await until('sslmode=require', 'no pg_hba.conf entry');
      expect(await outcomeOf('sslmode=prefer')).to.equal('plain');
      await take('host', 'TLSv1');
      await until('sslmode=require', '(?:protocol|version|alert|disconnected)');
      expect(await outcomeOf('sslmode=prefer')).to.equal('plain');
    });
  });

  it('prefer leaves nothing open when it is given up while the server says nothing', async () => {
    const silent = createServer();
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const asked = new Promise<Socket>((resolve) =>
      silent.once('connection', (socket) => socket.once('data', () => resolve(socket))),
    );
    const stream = new NegotiatedStream('prefer', {});
    stream.connect((silent.address() as AddressInfo).port, '127.0.0.1');
    const socket = await asked;
    const closed = new Promise((resolve) => socket.once('close', resolve));
    stream.destroy();
    await closed;
    await new Promise((resolve) => silent.close(resolve));
  });

  it('prefer goes on without TLS when the request for it is answered with more than a byte', async () => {
    const strange = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', (chunk) => socket.end(chunk.length === 8 ? 'Sx' : chunk));
    });
    await new Promise<void>((resolve) => strange.listen(0, '127.0.0.1', resolve));
    const stream = new NegotiatedStream('prefer', {});
    stream.connect((strange.address() as AddressInfo).port, '127.0.0.1');
    await new Promise((resolve) => stream.once('connect', resolve));
    stream.write('what the driver says first');
    const [heard] = (await once(stream, 'data')) as [Buffer];
    expect(heard.toString()).to.equal('what the driver says first');
    stream.destroy();
    await new Promise((resolve) => strange.close(resolve));
  });
});
