import { createHash } from 'node:crypto';

/**
 * The names of the statements that a server plans once for each connection, until a pooler between us and it turns out to mix up
 * the sessions: then there are none any more. The texts are constants, so there are few; making a name takes as long as sending a
 * short statement, so they are kept.
 */
export class PlannedStatements {
  readonly #names = new Map<string, string>();
  #areKept = true;

  /** Undefined where no plan is kept. */
  nameOf(text: string): string | undefined {
    if (!this.#areKept) return undefined;
    const name = this.#names.get(text) ?? makeName(text);
    this.#names.set(text, name);
    return name;
  }

  /** Keeps no plan from now on. False when none was kept already. */
  giveUp(): boolean {
    const wereKept = this.#areKept;
    this.#areKept = false;
    return wereKept;
  }
}

/** Made from the text, so that no other program or version means another statement by it. */
function makeName(text: string): string {
  return `su_${createHash('sha256').update(text).digest('base64url')}`;
}
