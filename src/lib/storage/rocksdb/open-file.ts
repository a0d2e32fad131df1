import { closeSync } from 'node:fs';

/** An open file that is closed once whoever uses it on the thread pool is done. */
export class OpenFile {
  readonly fd: number;
  #users = 0;
  #isClosing = false;

  constructor(fd: number) {
    this.fd = fd;
  }

  /** Keeps the file open until the work has ended. Not to be called after `close`. */
  async use<Result>(work: () => Promise<Result>): Promise<Result> {
    this.#users += 1;
    try {
      return await work();
    } finally {
      this.#users -= 1;
      this.#closeUnused();
    }
  }

  /** To be called once. */
  close(): void {
    this.#isClosing = true;
    this.#closeUnused();
  }

  #closeUnused(): void {
    if (this.#isClosing && this.#users === 0) closeSync(this.fd);
  }
}
