/** What must be closed, in the order it was opened. */
export class ClosingStack {
  readonly #parts: { close(): unknown }[] = [];

  add<Part extends { close(): unknown }>(part: Part): Part {
    this.#parts.push(part);
    return part;
  }

  /** Closes everything, last opened first; goes on after a failure and reports the first. */
  async closeAll(): Promise<void> {
    const failures: unknown[] = [];
    for (let part = this.#parts.pop(); part !== undefined; part = this.#parts.pop()) {
      try {
        await part.close();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}

/** A `close` that may be called twice, and a promise of its end. */
export function closeOnce(closing: ClosingStack): {
  closed: Promise<void>;
  close(): Promise<void>;
} {
  let ended = (): void => undefined;
  const closed = new Promise<void>((resolve) => (ended = resolve));
  let running: Promise<void> | undefined;
  return {
    closed,
    close: () => (running ??= closing.closeAll().finally(ended)),
  };
}
