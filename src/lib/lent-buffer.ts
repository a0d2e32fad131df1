import { invariant } from './errors.js';

/*
 * Buffers that are used again. V8 counts the bytes of buffers, which lie outside of its heap, and marks the whole heap with all cores
 * each time some 25 MB of them have come: for pages of megabytes that was more work than everything else about them.
 *
 * Promises:
 * - giving back is for those who know that nobody looks at the bytes any more; a buffer that is never given back is collected as
 *   any other;
 * - once it was given back, asking for its bytes throws, so that nobody is shown what was written there since. Views that were
 *   made before are not guarded;
 * - at most FREE_BYTES_MAX wait for being used again, those of sizes that came back last.
 */

const FREE_BYTES_MAX = 8 * 1024 * 1024;
/** Buffers are as large as the next multiple of this, so that one serves for another. */
const CLASS_BYTES = 64 * 1024;

/** Bytes that their owner may want back. */
export class LentBuffer {
  readonly #giveBack: (() => void) | undefined;
  #bytes: Buffer | undefined;

  /** @param giveBack called once, when it was given back; undefined: nobody wants it */
  constructor(bytes: Buffer, giveBack: (() => void) | undefined) {
    this.#bytes = bytes;
    this.#giveBack = giveBack;
  }

  /** @throws SuError `invariant` once it was given back */
  get bytes(): Buffer {
    invariant(this.#bytes !== undefined, 'a buffer that was given back is not read');
    return this.#bytes;
  }

  /** To be called when no view of the bytes is used any more. */
  giveBack(): void {
    if (this.#bytes === undefined) return;
    this.#bytes = undefined;
    this.#giveBack?.();
  }
}

/** Lends buffers, those first that were given back. */
export class BufferPool {
  readonly #free = new Map<number, Buffer[]>();
  #freeBytes = 0;

  /** A buffer of so many bytes, which are those of whoever had it before. */
  lend(length: number): LentBuffer {
    const size = Math.ceil(length / CLASS_BYTES) * CLASS_BYTES;
    let memory = this.#free.get(size)?.pop();
    if (memory === undefined) memory = Buffer.allocUnsafeSlow(size);
    else this.#freeBytes -= size;
    const whole = memory;
    return new LentBuffer(whole.subarray(0, length), () => this.#take(whole));
  }

  #take(memory: Buffer): void {
    const size = memory.length;
    const others = this.#free.get(size) ?? [];
    // The sizes that came back last stand last.
    this.#free.delete(size);
    this.#free.set(size, others);
    others.push(memory);
    this.#freeBytes += size;
    while (this.#freeBytes > FREE_BYTES_MAX) this.#dropOldest();
  }

  /** One of the size that has not come back for the longest time. */
  #dropOldest(): void {
    for (const [size, buffers] of this.#free) {
      if (buffers.pop() !== undefined) {
        this.#freeBytes -= size;
        return;
      }
      this.#free.delete(size);
    }
  }
}
