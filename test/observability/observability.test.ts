import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect } from 'chai';
import { openLog, type LogOptions } from '../../src/lib/observability/log.js';
import { openMetrics } from '../../src/lib/observability/metrics.js';
import { makePrometheusMetrics } from '../../src/lib/observability/prometheus-metrics.js';

function logInto(options: LogOptions = {}): { log: ReturnType<typeof openLog>; lines: string[] } {
  const lines: string[] = [];
  const log = openLog({
    ...options,
    destination: { write: (line: string) => void lines.push(line) },
  });
  return { log, lines };
}

describe('observability/log', () => {
  it('writes one JSON line per event, with level and time by name', () => {
    const { log, lines } = logInto();
    log.child({ processId: 'p' }).info({ event: 'request', nonce: 3 });
    expect(lines).to.have.length(1);
    const line = JSON.parse(lines[0] ?? '') as Record<string, unknown>;
    expect(line).to.include({ level: 'info', event: 'request', nonce: 3, processId: 'p' });
    expect(new Date(String(line['time'])).toISOString()).to.equal(line['time']);
    expect(line).to.not.have.any.keys('pid', 'hostname');
  });

  it('keeps quiet below its level', () => {
    const { log, lines } = logInto({ level: 'warn' });
    log.info({ event: 'request' });
    expect([lines, log.isLevelEnabled('info')]).to.deep.equal([[], false]);
  });

  it('writes an error with its cause', () => {
    const { log, lines } = logInto();
    log.error({ event: 'request', err: new Error('outer', { cause: new Error('inner') }) });
    expect(lines[0]).to.contain('"message":"outer"').and.to.contain('"message":"inner"');
  });

  it('writes for people when asked to', () => {
    const { log, lines } = logInto({ isPretty: true });
    log.info({ event: 'request', nonce: 3 });
    expect(lines.join('')).to.match(/INFO.*request.*"nonce":\s*3/s);
  });
});

describe('a log that gathers its lines', () => {
  const MODULE = new URL('../../src/lib/observability/log.ts', import.meta.url).href;
  const DIE = `process.kill(process.pid, 'SIGKILL')`;

  /** The events that a program has written when it has ended. */
  async function eventsOf(program: string, gatherMs: number): Promise<unknown[]> {
    const script = `import { openLog } from ${JSON.stringify(MODULE)};
      const log = openLog({ gatherMs: ${gatherMs} });
      ${program}`;
    const child = spawn(
      process.execPath,
      ['--import', 'tsx', '--input-type=module', '--eval', script],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    let output = '';
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
    await once(child, 'close');
    return output
      .trim()
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => (JSON.parse(line) as { event: unknown }).event);
  }

  it('keeps information for a moment, and lets nothing wait behind a warning', async () => {
    const program = `log.info({ event: 'a' }); log.warn({ event: 'b' }); log.info({ event: 'c' }); ${DIE};`;
    expect(await eventsOf(program, 60_000)).to.deep.equal(['a', 'b']);
  });

  it('writes what waits when its time is over, and when the program ends', async () => {
    const waiting = `log.info({ event: 'a' }); setTimeout(() => ${DIE}, 1_000);`;
    expect(await eventsOf(waiting, 20)).to.deep.equal(['a']);
    expect(await eventsOf(`log.info({ event: 'a' });`, 60_000)).to.deep.equal(['a']);
    expect(await eventsOf(`log.info({ event: 'a' }); process.exit(3);`, 60_000)).to.deep.equal([
      'a',
    ]);
  });
});

describe('observability/metrics', () => {
  it('costs nothing and says nothing when off', async () => {
    const metrics = await openMetrics({ enabled: false });
    metrics.observeCore('write_item', 5);
    metrics.messageSaveFailed();
    expect(metrics.enabled).to.equal(false);
    expect((await metrics.render()).text).to.equal('');
  });

  it('has every function of the field, with its buckets, from the start', async () => {
    const { text } = await (await openMetrics({ enabled: true })).render();
    for (const name of 'get_process get_message get_messages read_message_data write_item write_assignment acquire_write_lock'.split(
      ' ',
    )) {
      for (const bound of ['0', '1', '2500', '5500', '8000', '+Inf']) {
        const labels = [`le="${bound}"`, `function_name="${name}"`];
        const found = text
          .split('\n')
          .some(
            (line) =>
              line.startsWith('su_core_metrics_duration_milliseconds_bucket') &&
              labels.every((label) => line.includes(label)),
          );
        expect(found, `${name} ${bound}`).to.equal(true);
      }
    }
    expect(text)
      .to.contain('\nmessage_save_failures 0\n')
      .and.to.not.contain('message_save_failures_total');
  });

  it('are of one program: two do not share a count', async () => {
    const [one, other] = [makePrometheusMetrics(), makePrometheusMetrics()];
    one.messageSaveFailed();
    expect((await one.render()).text).to.contain('message_save_failures 1');
    expect((await other.render()).text).to.contain('message_save_failures 0');
  });

  it('reads gauges when it is asked, and leaves out what it cannot read', async () => {
    const metrics = makePrometheusMetrics();
    let waiting = 1;
    let isAway = false;
    metrics.watch({
      lanes: () => ({ busy: 2, waiting }),
      committer: () => 3,
      signing: () => ({ waiting: 4, running: 1 }),
      outbox: () =>
        isAway ? Promise.reject(new Error('away')) : Promise.resolve({ pending: 5, parked: 6 }),
      blockHeight: () => (isAway ? undefined : { height: 7, ageMs: 8 }),
    });
    const before = (await metrics.render()).text;
    for (const line of [
      'su_lanes_busy 2',
      'su_lane_queue_entries 1',
      'su_commit_queue_entries 3',
      'su_sign_queue 4',
      'su_sign_running 1',
      'su_outbox_entries{state="pending"} 5',
      'su_outbox_entries{state="parked"} 6',
      'su_block_height 7',
      'su_block_height_age_milliseconds 8',
    ]) {
      expect(before.split('\n')).to.include(line);
    }
    waiting = 9;
    isAway = true;
    const after = (await metrics.render()).text;
    expect(after.split('\n')).to.include('su_lane_queue_entries 9');
    expect(after).to.not.match(/^su_(outbox_entries\{|block_height )/m);
  });

  it('tells of all disk copies together how many are open, and how many stand still', async () => {
    const metrics = makePrometheusMetrics();
    const disk = metrics.disk();
    disk.watch(() => ({ isOpen: true, isStalled: true }));
    const close = disk.watch(() => ({ isOpen: true, isStalled: true }));
    disk.watch(() => ({ isOpen: true, isStalled: false }));
    disk.watch(() => ({ isOpen: false }));
    const lines = async (): Promise<string[]> => (await metrics.render()).text.split('\n');
    expect(await lines()).to.include.members(['su_disk_open 3', 'su_disk_stalled 2']);
    close();
    expect(await lines()).to.include.members(['su_disk_open 2', 'su_disk_stalled 1']);
  });

  it('counts uploads by outcome, commits by size, and does not make a series of an invented method', async () => {
    const metrics = makePrometheusMetrics();
    metrics.uploadEnded('accepted');
    metrics.uploadEnded('failed');
    metrics.observeCommit(3, 12);
    metrics.observeSign(5.5);
    metrics.observeAck(20);
    metrics.httpAnswered({ method: 'BREW', route: 'none', status: 404 });
    const lines = (await metrics.render()).text.split('\n');
    for (const line of [
      'su_uploads_total{outcome="accepted"} 1',
      'su_uploads_total{outcome="failed"} 1',
      'su_commit_batch_entries_sum 3',
      'su_commit_duration_milliseconds_sum 12',
      'su_sign_duration_milliseconds_sum 5.5',
      'su_ack_duration_milliseconds_count 1',
      'su_http_requests_total{method="other",route="none",status="404"} 1',
    ]) {
      expect(lines).to.include(line);
    }
  });
});
