/*
 * The line in front of the connections to each host. Undici has one of its own, but what was given up stays in it, and breaks a kept
 * connection when its turn comes: behind a few thousand such requests no other one would be answered.
 *
 * Promises: at most `atOnceMax` are under way with a host; the others begin in the order in which they came; whoever leaves
 * the line is never begun; no more than `waitingMax` wait.
 */

interface Host {
  running: number;
  readonly waiting: Set<() => void>;
}

export class ExchangeLine {
  readonly #atOnceMax: number;
  readonly #waitingMax: number;
  readonly #hosts = new Map<string, Host>();

  constructor(options: { readonly atOnceMax: number; readonly waitingMax: number }) {
    this.#atOnceMax = options.atOnceMax;
    this.#waitingMax = options.waitingMax;
  }

  /**
   * Calls `begin`, which is nobody else's, now or when its turn comes.
   *
   * @returns to be called once, when it is over or given up; undefined when too many wait
   */
  enter(origin: string, begin: () => void): (() => void) | undefined {
    const host = this.#hosts.get(origin) ?? { running: 0, waiting: new Set() };
    this.#hosts.set(origin, host);
    if (host.running < this.#atOnceMax) {
      host.running += 1;
      begin();
      return () => this.#leave(origin, host);
    }
    if (host.waiting.size >= this.#waitingMax) return undefined;
    host.waiting.add(begin);
    return () => {
      if (!host.waiting.delete(begin)) this.#leave(origin, host);
    };
  }

  #leave(origin: string, host: Host): void {
    const [next] = host.waiting;
    if (next === undefined) {
      host.running -= 1;
      if (host.running === 0) this.#hosts.delete(origin);
      return;
    }
    host.waiting.delete(next);
    next();
  }
}
