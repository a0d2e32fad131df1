import { expect } from 'chai';
import { readFileSync } from 'node:fs';
import type { AuditSource } from '../../src/lib/audit/ports.js';
import { sourceOfStore } from '../../src/lib/audit/store-source.js';
import { migrate } from '../../src/lib/storage/postgres/migrations.js';
import { openPostgresRawLog, type PostgresRawLog } from '../../src/lib/storage/postgres/raw-log.js';
import {
  emptyDatabase,
  migratedDatabase,
  silentLog,
  type TestDatabase,
} from '../support/postgres.js';
import { auditOf, briefly } from './audited.js';
import { plantFaults, type PlantedLog } from './planted-faults.js';
import { SignedLog } from './signed-log.js';

function openRows(database: TestDatabase): PostgresRawLog {
  return openPostgresRawLog({
    url: database.url,
    connections: 4,
    json: true,
    clock: Date.now,
    log: silentLog,
  });
}

function readDump(name: string): string {
  return readFileSync(new URL(`../vectors/databases/${name}.sql`, import.meta.url), 'utf8')
    .split('\n')
    .filter((line) => !line.startsWith('\\'))
    .join('\n');
}

describe('an audit of the recorded databases', () => {
  for (const [name, expected] of [
    ['with-process-assignment', ['nonce-hole 12']],
    ['without-process-assignment', []],
  ] as const) {
    it(`finds ${expected.length === 0 ? 'nothing' : expected.join()} in ${name}`, async function () {
      this.timeout(60_000);
      const database = await emptyDatabase(readDump(name));
      await migrate({ url: database.url, log: silentLog });
      const rows = openRows(database);
      const { findings, summary } = await auditOf(sourceOfStore(rows.reader, 'dump'));
      expect(briefly(findings)).to.deep.equal(expected);
      expect(summary.entries).to.equal(20);
      await rows.close();
      await database.drop();
    });
  }
});

describe('an audit of a PostgreSQL log', () => {
  let database: TestDatabase;
  let rows: PostgresRawLog;
  let source: AuditSource;
  let planted: readonly PlantedLog[];

  before(async function () {
    this.timeout(120_000);
    database = await migratedDatabase();
    rows = openRows(database);
    source = sourceOfStore(rows.reader, 'planted');
    planted = await plantFaults();
    await rows.writer.admitRepeatedPlaces();
    for (const { process, messages, damage } of planted) {
      await rows.writer.writeRows(process, messages);
      for (const [nonce, bundle] of damage) {
        await database.query(
          'update messages set bundle = $3 where process_id = $1 and nonce = $2',
          [process.processId, nonce, bundle],
        );
      }
    }
  });
  after(async () => {
    await rows.close();
    await database.drop();
  });

  it('finds each planted fault and nothing else', async function () {
    this.timeout(60_000);
    const { findings, summary } = await auditOf(source);
    for (const { name, process, expected } of planted) {
      const found = findings.filter((finding) => finding.process === process.processId);
      expect(briefly(found), `${name}: ${JSON.stringify(found)}`).to.have.members(expected);
    }
    expect(summary.processes).to.equal(planted.length);
  });

  async function healthyLog(withAssignment = true): Promise<SignedLog> {
    const log = await SignedLog.begin(withAssignment);
    await log.append(4);
    await rows.writer.writeRows(log.process, log.messages);
    return log;
  }

  const BY_HAND = [
    ['a wrong message id', `message_id = repeat('A', 43)`, 'stored-column 2'],
    ['a wrong assignment id', `assignment_id = repeat('B', 42) || 'A'`, 'stored-column 2'],
    ['a wrong hash chain', `hash_chain = repeat('C', 42) || 'A'`, 'stored-column 2'],
    ['a wrong timestamp', `timestamp = timestamp - 1000000`, 'stored-column 2'],
    ['a repeated nonce', `nonce = 1`, 'nonce-duplicate 1'],
    [
      'other data in its JSON',
      `message_data = jsonb_set(message_data, '{message,data}', '"other"')`,
      'stored-json 2',
    ],
    [
      'another tag in its JSON',
      `message_data = jsonb_set(message_data, '{assignment,tags,2,value}', '"9"')`,
      'stored-json 2',
    ],
    [
      'no message in its JSON',
      `message_data = message_data || '{"message": null}'`,
      'stored-json 2',
    ],
    ['an empty bundle', `bundle = ''`, 'bundle-missing 2'],
    ['a bundle of random bytes', `bundle = 'abcdefgh'`, 'bundle-unreadable 2'],
  ] as const;
  for (const [what, change, expected] of BY_HAND) {
    it(`finds ${what} in a row as ${expected}`, async () => {
      const { processId } = await healthyLog();
      await database.query(`update messages set ${change} where process_id = $1 and nonce = 2`, [
        processId,
      ]);
      const { findings } = await auditOf(source, { processes: [processId] });
      expect(briefly(findings), JSON.stringify(findings)).to.deep.equal([expected]);
      await database.query('delete from messages where process_id = $1', [processId]);
      await database.query('delete from processes where process_id = $1', [processId]);
    });
  }

  const OF_PROCESS = [
    [
      'a changed payload',
      `bundle = overlay(bundle placing '\\x00'::bytea from octet_length(bundle))`,
      'message-signature 0',
    ],
    ['a wrong nonce', 'nonce = 7', 'stored-column 0'],
    [
      'another owner in its JSON',
      `process_data = jsonb_set(process_data, '{process,owner,key}', '"x"')`,
      'stored-json 0',
    ],
    ['an empty bundle', `bundle = ''`, 'bundle-missing 0'],
  ] as const;
  for (const [what, change, expected] of OF_PROCESS) {
    it(`finds ${what} in the row of a process as ${expected}`, async () => {
      const { processId } = await healthyLog();
      await database.query(`update processes set ${change} where process_id = $1`, [processId]);
      const { findings } = await auditOf(source, { processes: [processId] });
      expect(briefly(findings), JSON.stringify(findings)).to.deep.equal([expected]);
    });
  }

  it('accepts U+FFFD in a JSON column where the bytes have U+0000', async () => {
    const log = await SignedLog.begin();
    await log.message({ item: log.itemWith(Buffer.from('a\0b')) });
    await rows.writer.writeRows(log.process, log.messages);
    const { findings } = await auditOf(source, { processes: [log.processId] });
    expect(findings).to.deep.equal([]);
  });

  it('accepts the flat JSON of old rows, and finds what is wrong in it', async () => {
    const { processId } = await healthyLog();
    await database.query(
      `update messages set message_data = jsonb_build_object(
         'message', (message_data -> 'message') - 'owner' - 'data' - 'target',
         'owner', message_data -> 'message' -> 'owner', 'data', message_data -> 'message' -> 'data',
         'process_id', process_id, 'block', '000001500000', 'timestamp', timestamp, 'epoch', epoch, 'nonce', nonce,
         'hash_chain', hash_chain)
        where process_id = $1`,
      [processId],
    );
    const request = { processes: [processId] };
    expect((await auditOf(source, request)).findings).to.deep.equal([]);
    await database.query(
      `update messages set message_data = message_data || '{"nonce": 8}' where process_id = $1 and nonce = 3`,
      [processId],
    );
    const { findings } = await auditOf(source, request);
    expect(briefly(findings)).to.deep.equal(['stored-json 3']);
    expect(findings[0]).to.include({ expected: 'nonce: 3', found: 'nonce: 8' });
  });

  it('accepts rows of the oldest forms: no assignment id, no place of the process, a bare record', async () => {
    const { processId } = await healthyLog();
    await database.query('update messages set assignment_id = null where process_id = $1', [
      processId,
    ]);
    await database.query(
      `update processes
          set epoch = null, nonce = null, hash_chain = null, timestamp = null, process_data = process_data -> 'process'
        where process_id = $1`,
      [processId],
    );
    expect((await auditOf(source, { processes: [processId] })).findings).to.deep.equal([]);
  });

  it('tells of uploads that are outstanding, as information', async () => {
    const log = await healthyLog();
    const [, second] = log.messages;
    await database.query(
      'insert into su_outbox (process_id, message_id, assignment_id, parts, due_at) values ($1, $2, $3, 3, now())',
      [log.processId, second?.messageId, second?.assignmentId],
    );
    const rowsAnew = openRows(database);
    const { findings } = await auditOf(sourceOfStore(rowsAnew.reader, 'anew'), {
      processes: [log.processId],
    });
    expect(briefly(findings)).to.deep.equal(['upload-pending']);
    expect(findings[0]).to.include({ severity: 'information' });
    expect(findings[0]?.found).to.include(second?.messageId);
    const whole = await auditOf(sourceOfStore(rowsAnew.reader, 'anew'));
    expect(whole.summary.outstanding).to.deep.equal({ pending: 1, parked: 0 });
    await rowsAnew.close();
  });
});
