import { join } from 'node:path';
import type { Id } from '../../src/lib/protocol/ids.js';
import type { SignatureType } from '../../src/lib/protocol/signature-types.js';
import type { AskedProgram } from './programs.js';
import type { PresignOrder, PresignReport } from './presign-process.js';

/** A part of a file of signed items. */
export interface ItemSlice {
  readonly file: string;
  readonly from: number;
  /** Exclusive. */
  readonly to: number;
}

interface Segment {
  readonly file: string;
  readonly count: number;
}

/**
 * Signed items that are posted once to each store. They are signed when they are needed, and kept in files, so that the
 * next store gets those that the one before had.
 */
export class ItemPool {
  readonly #presign: (count: number) => Promise<Segment>;
  readonly #segments: Segment[] = [];
  #segment = 0;
  #next = 0;

  constructor(presign: (count: number) => Promise<Segment>) {
    this.#presign = presign;
  }

  /** So many items that this store has not had; what is not used of them must be given back with `used`. */
  async take(count: number): Promise<ItemSlice> {
    for (;;) {
      const segment = this.#segments[this.#segment];
      if (segment === undefined) {
        this.#segments.push(await this.#presign(count));
      } else if (segment.count - this.#next >= count) {
        return { file: segment.file, from: this.#next, to: this.#next + count };
      } else {
        this.#segment += 1;
        this.#next = 0;
      }
    }
  }

  /** @param next index behind the last item that was posted */
  used(next: number): void {
    this.#next = next;
  }

  /** For a store that has had none. */
  rewind(): void {
    this.#segment = 0;
    this.#next = 0;
  }
}

/** Whom messages go to, and what they are. */
export interface MessageKind {
  readonly to: 'many' | 'hot';
  readonly dataBytes: number;
  readonly types: readonly SignatureType[];
}

/** As aoconnect sends them, the whole item of 1.5 KB. */
export const USUAL_MESSAGES: MessageKind = { to: 'many', dataBytes: 260, types: [1] };
export const HOT_MESSAGES: MessageKind = { ...USUAL_MESSAGES, to: 'hot' };

const PROCESSES = 64;
/** An order signs at least so many: one after the other would leave cores idle. */
const SEGMENT_ITEMS_MIN = 256;
/** Items larger than this are signed in the number that is asked for. */
const LARGE_BYTES = 10_000;

/** Everything that is signed beforehand in one run of the bench. */
export class Items {
  readonly #program: AskedProgram<PresignOrder, PresignReport>;
  readonly #folder: string;
  readonly #pools = new Map<string, ItemPool>();
  #files = 0;
  #processes: { readonly file: string; readonly ids: readonly Id[] } | undefined;

  constructor(program: AskedProgram<PresignOrder, PresignReport>, folder: string) {
    this.#program = program;
    this.#folder = folder;
  }

  /** The processes that messages go to: the first is the hot one. */
  async processes(): Promise<{ readonly file: string; readonly ids: readonly Id[] }> {
    if (this.#processes !== undefined) return this.#processes;
    const file = this.#file();
    const { ids } = await this.#program.run({ kind: 'processes', file, count: PROCESSES + 1 });
    return (this.#processes = { file, ids });
  }

  async messages(kind: MessageKind): Promise<ItemPool> {
    const { ids } = await this.processes();
    const processes = kind.to === 'hot' ? ids.slice(0, 1) : ids.slice(1);
    const { dataBytes, types } = kind;
    return this.#pool(JSON.stringify(kind), dataBytes, async (file, count) => {
      await this.#program.run({ kind: 'messages', file, processes, count, dataBytes, types });
    });
  }

  /** Processes that nobody has spawned. */
  spawns(): ItemPool {
    return this.#pool('spawns', 0, async (file, count) => {
      await this.#program.run({ kind: 'processes', file, count });
    });
  }

  /** One message to each of these processes. */
  async messageEach(processes: readonly Id[]): Promise<ItemSlice> {
    const file = this.#file();
    const count = processes.length;
    const { dataBytes, types } = USUAL_MESSAGES;
    await this.#program.run({ kind: 'messages', file, processes, count, dataBytes, types });
    return { file, from: 0, to: count };
  }

  /** For the next store. */
  rewind(): void {
    for (const pool of this.#pools.values()) pool.rewind();
  }

  #pool(
    name: string,
    dataBytes: number,
    sign: (file: string, count: number) => Promise<void>,
  ): ItemPool {
    const known = this.#pools.get(name);
    if (known !== undefined) return known;
    const pool = new ItemPool(async (asked) => {
      const count = dataBytes > LARGE_BYTES ? asked : Math.max(SEGMENT_ITEMS_MIN, asked);
      const file = this.#file();
      await sign(file, count);
      return { file, count };
    });
    this.#pools.set(name, pool);
    return pool;
  }

  #file(): string {
    this.#files += 1;
    return join(this.#folder, `items-${this.#files}.bin`);
  }
}
