import type { Bench } from './bench.js';

/** Where the server keeps its log: `disk` is PostgreSQL with a copy beside it. */
export type StoreName = 'embedded' | 'postgres' | 'disk';

export const STORES: readonly StoreName[] = ['embedded', 'postgres', 'disk'];

/** What a figure should be at least, or at most. */
export interface Goal {
  readonly at: 'least' | 'most';
  readonly value: number;
}

/** A goal that may be another one for a store, or where the machine signs twice as fast (see `signsFast`). */
export interface GoalSpec extends Goal {
  readonly stores?: Partial<Record<StoreName, number>>;
  readonly fast?: Partial<Record<StoreName, number>>;
}

/** The values of each figure, a value a round. */
export type Figures = Readonly<Record<string, readonly number[]>>;

/** One thing that is measured. A case reports what it measured and decides nothing. */
export interface BenchCase {
  /** `family: what`, unique. */
  readonly name: string;
  readonly stores: readonly StoreName[];
  /** What the figures with a goal are compared with, in a few words. */
  readonly comparedWith: string;
  /** Goals, by the name of their figure. */
  readonly goals: Readonly<Record<string, GoalSpec>>;
  /** Whether it is part of the short form. */
  readonly isQuick: boolean;
  run(bench: Bench): Promise<Figures>;
}

/** The goal that holds for a store on a machine. */
export function goalFor(spec: GoalSpec, store: StoreName, isFast: boolean): Goal {
  const value = (isFast ? spec.fast?.[store] : undefined) ?? spec.stores?.[store] ?? spec.value;
  return { at: spec.at, value };
}

/** Whether a value meets a goal. */
export function meets(goal: Goal, value: number): boolean {
  return goal.at === 'least' ? value >= goal.value : value <= goal.value;
}

/**
 * Whether this processor and Node sign RSA-4096 twice as fast as Node 20 does: OpenSSL does from Node 22 on, with the
 * AVX-512 instructions for long multiplications.
 *
 * @param cpuFlags what /proc/cpuinfo says of the processor
 */
export function signsFast(nodeVersion: string, cpuFlags: string): boolean {
  const major = Number(/^v?(\d+)/.exec(nodeVersion)?.[1]);
  return major >= 22 && /\bavx512ifma\b/.test(cpuFlags);
}
