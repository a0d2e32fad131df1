import {
  goalFor,
  meets,
  type BenchCase,
  type Figures,
  type Goal,
  type StoreName,
} from './bench-case.js';
import { spread, type Spread } from './statistics.js';

/** One figure over all rounds. */
export interface FigureReport extends Spread {
  readonly rounds: readonly number[];
  readonly goal?: Goal;
  readonly isMet?: boolean;
}

/** What a case measured on a store. */
export interface CaseReport {
  readonly name: string;
  readonly store: StoreName;
  readonly comparedWith: string;
  readonly seconds: number;
  readonly figures: Readonly<Record<string, FigureReport>>;
}

/** Where and with what a run was made. */
export interface RunMachine {
  readonly processor: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly system: string;
}

export interface RunVersions {
  /** The Node that ran the server and signed for comparison. */
  readonly node: string;
  /** The Node that ran the load. */
  readonly loadNode: string;
  readonly su: string;
  readonly rocksdb: string;
  /** Undefined when no case ran on it. */
  readonly postgres?: string;
}

/** Everything that one run of the bench found: what `--json` writes. */
export interface RunReport {
  readonly date: string;
  readonly machine: RunMachine;
  readonly versions: RunVersions;
  readonly isQuick: boolean;
  /** Messages of the large log. */
  readonly entries: number;
  /** RSA-4096 signatures a second, before the first case. */
  readonly signing: { readonly all: number; readonly one: number };
  /** Whether goals are those of machines that sign twice as fast. */
  readonly signsFast: boolean;
  readonly cases: readonly CaseReport[];
}

/** Joins what a case measured with its goals. */
export function reportCase(
  { name, comparedWith, goals }: BenchCase,
  measured: Figures,
  {
    store,
    signsFast,
    seconds,
  }: { readonly store: StoreName; readonly signsFast: boolean; readonly seconds: number },
): CaseReport {
  // What this system cannot tell has no values.
  const known = Object.entries(measured).filter(([, rounds]) => rounds.length > 0);
  const figures = known.map(([figure, rounds]) => {
    const values = { ...spread(rounds), rounds };
    const spec = goals[figure];
    if (spec === undefined) return [figure, values] as const;
    const goal = goalFor(spec, store, signsFast);
    return [figure, { ...values, goal, isMet: meets(goal, values.median) }] as const;
  });
  for (const figure of Object.keys(goals)) {
    if (measured[figure] === undefined) {
      throw new Error(`${name} has a goal for "${figure}", which it does not measure`);
    }
  }
  return { name, store, comparedWith, seconds, figures: Object.fromEntries(figures) };
}

/** A number with as many digits as it deserves. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return '–';
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 20 ? 1 : 2;
  return value.toFixed(digits);
}

/** `≥ 0.68` */
export function formatGoal({ at, value }: Goal): string {
  return `${at === 'least' ? '≥' : '≤'} ${value}`;
}

/** The table of the cases of one store, as lines. */
export function renderTable(cases: readonly CaseReport[]): readonly string[] {
  const names = cases.flatMap(({ figures }) => Object.keys(figures));
  const width = Math.max(0, ...names.map(({ length }) => length));
  return cases.flatMap(({ name, comparedWith, figures }) => [
    '',
    `  ${name}`,
    ...Object.entries(figures).map(([figure, report]) => figureLine(figure.padEnd(width), report)),
    ...(Object.values(figures).some(({ goal }) => goal !== undefined)
      ? [`    (against ${comparedWith})`]
      : []),
  ]);
}

function figureLine(
  label: string,
  { median, min, max, rounds, goal, isMet }: FigureReport,
): string {
  const range = rounds.length > 1 ? ` (${formatNumber(min)}–${formatNumber(max)})` : '';
  const values = `${formatNumber(median)}${range}`;
  if (goal === undefined) return `    ${label}  ${values}`;
  return `    ${label}  ${values.padEnd(20)}  goal ${formatGoal(goal)}: ${isMet === true ? 'met' : 'NOT MET'}`;
}
