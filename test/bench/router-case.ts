import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { quickMessage, quickProcess, quickWallet } from '../support/signed-items.js';
import { startSu, type SuProcess } from '../support/su-process.js';
import { testWallet, testWalletPath } from '../support/test-wallet.js';
import { quantile, spread } from './statistics.js';

/*
 * What a router costs: redirects a second, and what carrying a message adds to it, each beside a bare koa server in the same
 * rounds, on the embedded store. Needs the built package: npm run build, then npx tsx test/bench/router-case.ts.
 */

const ROUNDS = 3;
const ROUND_MS = 3_000;
const CONNECTIONS = 16;

interface Target {
  readonly url: string;
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly status: number;
  readonly body?: (turn: number) => Uint8Array;
}

interface Measured {
  readonly perSecond: number;
  /** Of one request, ms. */
  readonly p50: number;
}

async function ask(agent: Agent, target: Target, turn: number): Promise<void> {
  const { url, method, path, status } = target;
  const body = target.body?.(turn);
  const { hostname, port } = new URL(url);
  await new Promise<void>((resolve, reject) => {
    const headers = body === undefined ? {} : { 'content-length': body.length };
    const asked = request({ agent, hostname, port, method, path, headers }, (answer) => {
      answer.resume();
      answer.once('end', () => {
        if (answer.statusCode === status) resolve();
        else reject(new Error(`${method} ${url}${path} was answered ${answer.statusCode}`));
      });
    });
    asked.once('error', reject);
    asked.end(body);
  });
}

/** Asks again and again over so many kept connections. */
async function measure(target: Target, connections: number, durationMs: number): Promise<Measured> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const durations: number[] = [];
  const begun = performance.now();
  let turn = 0;
  const lane = async (): Promise<void> => {
    while (performance.now() - begun < durationMs) {
      const startedAt = performance.now();
      await ask(agent, target, (turn += 1));
      durations.push(performance.now() - startedAt);
    }
  };
  await Promise.all(Array.from({ length: connections }, lane));
  const perSecond = (durations.length * 1000) / (performance.now() - begun);
  agent.destroy();
  return {
    perSecond,
    p50: quantile(
      durations.toSorted((a, b) => a - b),
      0.5,
    ),
  };
}

async function startBare(): Promise<{ child: ChildProcess; url: string }> {
  const file = fileURLToPath(new URL('./bare-koa.ts', import.meta.url));
  const child = spawn(process.execPath, ['--import', 'tsx', file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [port] = (await once(child.stdout, 'data')) as [Buffer];
  return { child, url: `http://127.0.0.1:${port.toString().trim()}` };
}

async function startRouter(folder: string, forward: 'redirect' | 'proxy'): Promise<SuProcess> {
  return startSu({
    cwd: folder,
    mode: 'router',
    env: {
      SU_WALLET_PATH: testWalletPath('scheduler'),
      SCHEDULER_LIST_PATH: join(folder, 'schedulers.json'),
      SU_DATA_DIR: join(folder, forward),
      ROUTER_FORWARD: forward,
    },
  });
}

async function main(): Promise<void> {
  await testWallet('scheduler');
  const folder = await mkdtemp(join(tmpdir(), 'su-bench-router-'));
  const bare = await startBare();
  const routers: SuProcess[] = [];
  try {
    await writeFile(join(folder, 'schedulers.json'), JSON.stringify([{ url: bare.url }]));
    const redirecting = await startRouter(folder, 'redirect');
    routers.push(redirecting);
    const carrying = await startRouter(folder, 'proxy');
    routers.push(carrying);
    const wallet = quickWallet();
    const process = quickProcess(wallet);
    for (const { url } of routers) {
      await fetch(url, { method: 'POST', body: process.bytes, redirect: 'manual' });
    }
    const messages = Array.from(
      { length: 64 },
      () => quickMessage(wallet, process.id, 1_000).bytes,
    );
    const body = (turn: number): Uint8Array =>
      messages[turn % messages.length] ?? new Uint8Array(0);
    const read = {
      method: 'GET',
      path: `/${process.id}?process-id=${process.id}&limit=5`,
      status: 307,
    } as const;
    const post = { method: 'POST', path: '/', status: 200, body } as const;
    const cases = {
      'GET answered 307 by bare koa': { ...read, url: bare.url },
      'GET answered 307 by the router': { ...read, url: redirecting.url },
      'POST of a message, redirected after its check': {
        ...post,
        url: redirecting.url,
        status: 307,
      },
      'POST to bare koa': { ...post, url: bare.url },
      'POST carried by the router to bare koa': { ...post, url: carrying.url },
    } satisfies Record<string, Target>;
    await report(cases);
  } finally {
    await Promise.all(routers.map((router) => router.stop('SIGKILL')));
    bare.child.kill();
    await rm(folder, { recursive: true, force: true });
  }
}

/** All cases in turn, so that a disturbance of the machine falls on each. */
async function report(cases: Readonly<Record<string, Target>>): Promise<void> {
  const rates = new Map<string, number[]>();
  const medians = new Map<string, number[]>();
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const [name, target] of Object.entries(cases)) {
      const many = await measure(target, CONNECTIONS, ROUND_MS);
      const one = await measure(target, 1, ROUND_MS / 3);
      rates.set(name, [...(rates.get(name) ?? []), many.perSecond]);
      medians.set(name, [...(medians.get(name) ?? []), one.p50]);
    }
  }
  console.log(`| case | per second, ${CONNECTIONS} connections | p50 of one connection, ms |`);
  console.log('|---|---|---|');
  for (const name of Object.keys(cases)) {
    const rate = spread(rates.get(name) ?? []);
    const p50 = spread(medians.get(name) ?? []);
    console.log(
      `| ${name} | ${rate.median.toFixed(0)} (${rate.min.toFixed(0)}–${rate.max.toFixed(0)}) | ${p50.median.toFixed(2)} |`,
    );
  }
}

await main();
