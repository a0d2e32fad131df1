import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createDatabase, type TestServer } from '../support/postgres.js';
import { startSu, type SuProcess } from '../support/su-process.js';
import { testWalletPath } from '../support/test-wallet.js';
import type { StoreName } from './bench-case.js';
import { imageNodeFlags } from './image-node-flags.js';
import { USUAL_MESSAGES, type Items } from './items.js';
import { openLargeLog, type LargeLog } from './large-log.js';
import type {
  AskedProgram,
  LoadProgram,
  ReadProgram,
  ServerProgram,
  Yardstick,
} from './programs.js';
import type { CommitAnswer, CommitQuestion } from './commit-process.js';

/** The programs beside the server. */
export interface Programs {
  readonly bundler: ServerProgram;
  readonly load: LoadProgram;
  readonly reads: ReadProgram;
  readonly yardstick: Yardstick;
  readonly commits: AskedProgram<CommitQuestion, CommitAnswer>;
}

/** What the whole run has in common. */
export interface BenchOptions {
  readonly isQuick: boolean;
  readonly rounds: number;
  /** Of a round of load. */
  readonly durationMs: number;
  /** The same for cases with many rounds, or that need less. */
  readonly shortMs: number;
  /** Messages that a server has taken before it is measured. */
  readonly warmUpMessages: number;
  /** Messages and processes of the large log. */
  readonly entries: number;
  readonly processes: number;
  /** Rows of the outbox that is measured full. */
  readonly backlog: number;
  readonly cores: number;
  /** The Node that runs the server. */
  readonly node: string;
  /** Where large logs are kept from run to run; undefined: nowhere. */
  readonly dataFolder: string | undefined;
}

/** A running server on a store. */
export interface Target {
  readonly server: SuProcess;
  readonly url: string;
  /** Undefined for the embedded store. */
  readonly databaseUrl: string | undefined;
  close(): Promise<void>;
}

/** Where a server finds its log: the environment of its store. */
export interface StorePlace {
  readonly env: Readonly<Record<string, string>>;
  readonly databaseUrl: string | undefined;
}

/** What a case has to work with: one store's part of the run. */
export class Bench {
  readonly store: StoreName;
  readonly programs: Programs;
  readonly items: Items;
  readonly folder: string;
  readonly options: BenchOptions;
  readonly #postgres: () => Promise<TestServer>;
  readonly #note: (line: string) => void;
  readonly #remembered = new Map<string, Promise<number>>();
  #shared: Promise<Target> | undefined;
  #large: Promise<LargeLog> | undefined;
  #places = 0;

  constructor(parts: {
    readonly store: StoreName;
    readonly programs: Programs;
    readonly items: Items;
    readonly folder: string;
    readonly options: BenchOptions;
    readonly postgres: () => Promise<TestServer>;
    readonly note: (line: string) => void;
  }) {
    this.store = parts.store;
    this.programs = parts.programs;
    this.items = parts.items;
    this.folder = parts.folder;
    this.options = parts.options;
    this.#postgres = parts.postgres;
    this.#note = parts.note;
  }

  get rounds(): number {
    return this.options.rounds;
  }

  get durationMs(): number {
    return this.options.durationMs;
  }

  get shortMs(): number {
    return this.options.shortMs;
  }

  get cores(): number {
    return this.options.cores;
  }

  get isQuick(): boolean {
    return this.options.isQuick;
  }

  /** Tells the user what is going on. */
  note(line: string): void {
    this.#note(line);
  }

  /** A store with nothing in it. */
  async emptyPlace(): Promise<StorePlace> {
    this.#places += 1;
    const data = join(this.folder, `data-${this.#places}`);
    await mkdir(data);
    if (this.store === 'embedded') return { env: { SU_DATA_DIR: data }, databaseUrl: undefined };
    const { url } = await createDatabase(await this.#postgres(), 'template0');
    const disk = this.store === 'disk' ? { USE_DISK: 'true', SU_DATA_DIR: data } : {};
    return { env: { DATABASE_URL: url, ...disk }, databaseUrl: url };
  }

  /** Starts a server and waits until it is healthy. */
  async start(place: StorePlace): Promise<Target> {
    const { bundler } = this.programs;
    const server = await startSu({
      cwd: this.folder,
      node: this.options.node,
      nodeFlags: imageNodeFlags(),
      env: {
        SU_WALLET_PATH: testWalletPath('scheduler'),
        GATEWAY_URL: bundler.url,
        UPLOAD_NODE_URL: bundler.url,
        ENABLE_PROCESS_ASSIGNMENT: 'true',
        ENABLE_METRICS: 'true',
        ...place.env,
      },
    });
    const kill = (): void => {
      process.kill(server.pid, 'SIGKILL');
    };
    // A bench that is interrupted leaves no server behind.
    process.once('exit', kill);
    server.exited.then(
      () => process.removeListener('exit', kill),
      () => undefined,
    );
    return {
      server,
      url: server.url,
      databaseUrl: place.databaseUrl,
      close: async () => {
        await server.stop('SIGTERM');
      },
    };
  }

  /** Spawns the processes that the presigned messages go to. */
  async spawnProcesses(target: Target): Promise<void> {
    const { file, ids } = await this.items.processes();
    const { failures } = await this.programs.load.run({
      url: target.url,
      file,
      from: 0,
      to: ids.length,
      clients: 8,
    });
    if (Object.keys(failures).length > 0)
      throw new Error(`spawns failed: ${JSON.stringify(failures)}`);
  }

  /** Lets a server take messages until its code is compiled. */
  async warmUp(target: Target): Promise<void> {
    const pool = await this.items.messages(USUAL_MESSAGES);
    const slice = await pool.take(this.options.warmUpMessages);
    const { next } = await this.programs.load.run({ url: target.url, ...slice, clients: 32 });
    pool.used(next);
  }

  /** The server that most cases measure: warmed up, with the processes of the presigned messages. */
  shared(): Promise<Target> {
    return (this.#shared ??= this.#openShared());
  }

  async #openShared(): Promise<Target> {
    this.note('starting and warming up a server');
    const target = await this.start(await this.emptyPlace());
    await this.spawnProcesses(target);
    await this.warmUp(target);
    return target;
  }

  /** The shared server is stopped: a case that measures another one wants the machine for itself. */
  async closeShared(): Promise<void> {
    const target = await this.#shared;
    this.#shared = undefined;
    await target?.close();
  }

  /** The log of many entries; the shared server is stopped for it. */
  async large(): Promise<LargeLog> {
    await this.closeShared();
    return (this.#large ??= openLargeLog({
      store: this.store,
      plan: {
        entries: this.options.entries,
        processes: this.options.processes,
        pendingUploads: 0,
      },
      node: this.options.node,
      folder: this.options.dataFolder ?? join(this.folder, 'large'),
      isKept: this.options.dataFolder !== undefined,
      note: this.#note,
    }));
  }

  /** A figure that several cases need and the first one measures. */
  recall(name: string, measure: () => Promise<number>): Promise<number> {
    const known = this.#remembered.get(name);
    if (known !== undefined) return known;
    const measuring = measure();
    this.#remembered.set(name, measuring);
    return measuring;
  }

  async close(): Promise<void> {
    await this.closeShared();
    await (await this.#large)?.close();
  }
}
