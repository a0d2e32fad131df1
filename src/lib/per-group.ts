/** Something for each of a few groups, made when it is first needed; it stays. */
export class PerGroup<Part> {
  readonly #make: () => Part;
  readonly #parts = new Map<string, Part>();

  constructor(make: () => Part) {
    this.#make = make;
  }

  of(group: string): Part {
    const known = this.#parts.get(group);
    if (known !== undefined) return known;
    const part = this.#make();
    this.#parts.set(group, part);
    return part;
  }

  /** Those that were made. */
  all(): readonly Part[] {
    return [...this.#parts.values()];
  }
}
