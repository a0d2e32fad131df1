import { readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { format } from 'prettier';
import type { Goal, StoreName } from '../bench/bench-case.js';
import { formatGoal, formatNumber, type CaseReport, type RunReport } from '../bench/report.js';

/*
 * npm run bench:readme -- FILE [FILE…]: takes what `npm run bench -- --json FILE` wrote, keeps the figures that have a goal in
 * docs/performance.json, and writes the README's tables from them. Files of one version of Node are one run in parts, such as one a
 * store. Works that were not measured again keep the figures they have, in tables of their own.
 */

const README = new URL('../../README.md', import.meta.url);
const FIGURES = new URL('../../docs/performance.json', import.meta.url);

/** One figure on the stores it was measured on. */
export interface KeptFigure {
  readonly work: string;
  readonly figure: string;
  readonly against: string;
  readonly stores: Partial<
    Record<StoreName, { readonly median: number; readonly goal: Goal; readonly isMet: boolean }>
  >;
}

/** What the README shows of a run. */
export interface KeptRun extends Pick<
  RunReport,
  'date' | 'machine' | 'versions' | 'isQuick' | 'entries' | 'signing'
> {
  readonly figures: readonly KeptFigure[];
}

/** The parts of each run, by the version of Node, as one. */
export function joinReports(parts: readonly RunReport[]): readonly RunReport[] {
  const joined = new Map<string, RunReport>();
  for (const part of parts) {
    const begun = joined.get(part.versions.node);
    joined.set(
      part.versions.node,
      begun === undefined
        ? part
        : {
            ...begun,
            versions: { ...part.versions, ...begun.versions },
            cases: [...begun.cases, ...part.cases],
          },
    );
  }
  return [...joined.values()];
}

/** What earlier runs have of works that no later one measured with the same version of Node. */
export function keepUnmeasured(
  earlier: readonly KeptRun[],
  later: readonly KeptRun[],
): readonly KeptRun[] {
  return earlier.flatMap((run) => {
    const again = later.filter(({ versions }) => versions.node === run.versions.node);
    const works = new Set(again.flatMap(({ figures }) => figures.map(({ work }) => work)));
    const figures = run.figures.filter(({ work }) => !works.has(work));
    return figures.length === 0 ? [] : [{ ...run, figures }];
  });
}

const STORE_TITLES: Readonly<Record<StoreName, string>> = {
  embedded: 'embedded',
  postgres: 'PostgreSQL',
  disk: 'with disk copy',
};

/** The figures with a goal, each with all its stores. */
export function keepRun(report: RunReport): KeptRun {
  const { date, machine, versions, isQuick, entries, signing } = report;
  const figures = new Map<string, KeptFigure>();
  for (const one of report.cases) {
    for (const figure of goalsOf(one)) {
      const name = `${figure.work} ${figure.figure}`;
      const stores = { ...figures.get(name)?.stores, ...figure.stores };
      figures.set(name, { ...figure, stores });
    }
  }
  return { date, machine, versions, isQuick, entries, signing, figures: [...figures.values()] };
}

function goalsOf({ name, store, comparedWith, figures }: CaseReport): readonly KeptFigure[] {
  return Object.entries(figures).flatMap(([figure, { median, goal, isMet }]) =>
    goal === undefined || isMet === undefined
      ? []
      : [
          {
            work: name,
            figure,
            against: comparedWith,
            stores: { [store]: { median: Number(median.toPrecision(3)), goal, isMet } },
          },
        ],
  );
}

/** The README's text about the runs: for each the machine and a table. */
export function renderPerformance(runs: readonly KeptRun[]): string {
  return runs.map(renderRun).join('\n\n');
}

function renderRun(run: KeptRun): string {
  const stores = (Object.keys(STORE_TITLES) as StoreName[]).filter((store) =>
    run.figures.some((figure) => figure.stores[store] !== undefined),
  );
  const head = ['work', 'figure', 'goal', ...stores.map((store) => STORE_TITLES[store])];
  const rows = run.figures.map((figure) => [
    figure.work,
    figure.figure,
    goalsCell(figure, stores),
    ...stores.map((store) => valueCell(figure, store)),
  ]);
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [
    `**Node ${run.versions.node.replace('v', '')}**${run.isQuick ? ' (short form)' : ''}: ${machineText(run)}.`,
    '',
    line(head),
    `|${'---|'.repeat(head.length)}`,
    ...rows.map(line),
  ].join('\n');
}

function machineText({ machine, versions, signing, entries, date, figures }: KeptRun): string {
  const database = versions.postgres === undefined ? '' : `PostgreSQL ${versions.postgres}, `;
  const isLarge = figures.some(({ work }) => /^(pages|large log)/.test(work));
  return (
    `${machine.processor}, ${machine.cores} cores, ${(machine.memoryBytes / 1e9).toFixed(0)} GB, ${database}` +
    `${signing.all.toFixed(0)} RSA-4096 signatures a second on all cores and ${signing.one.toFixed(0)} on one, ` +
    `${isLarge ? `large log of ${entries} entries, ` : ''}${date}`
  );
}

/** One goal for all stores, or theirs in the order of the columns. */
function goalsCell({ stores }: KeptFigure, columns: readonly StoreName[]): string {
  const goals = columns.flatMap((store) => {
    const goal = stores[store]?.goal;
    return goal === undefined ? [] : [formatGoal(goal)];
  });
  const [first = '', ...others] = goals;
  return others.every((goal) => goal === first)
    ? first
    : [first, ...others.map((goal) => goal.replace(/^. /, ''))].join(' / ');
}

function valueCell({ stores }: KeptFigure, store: StoreName): string {
  const value = stores[store];
  if (value === undefined) return '–';
  const text = formatNumber(value.median);
  return value.isMet ? text : `**${text}**`;
}

const SECTION = /(?<=<!-- table: performance -->\n)([\s\S]*?)(?=<!-- end -->)/;

/** The text between the section's comments in the README; undefined when they are not there. */
export function readmePerformance(
  readme: string = readFileSync(README, 'utf8'),
): string | undefined {
  return SECTION.exec(readme)?.[1]?.trim();
}

/** The figures that are kept in the repository. */
export function keptRuns(): readonly KeptRun[] {
  return (JSON.parse(readFileSync(FIGURES, 'utf8')) as { runs: readonly KeptRun[] }).runs;
}

async function main(files: readonly string[]): Promise<void> {
  if (files.length === 0) throw new Error('npm run bench:readme -- FILE [FILE…]');
  const parts = files.map((file) => JSON.parse(readFileSync(file, 'utf8')) as RunReport);
  const measured = joinReports(parts).map(keepRun);
  const runs = [...measured, ...keepUnmeasured(keptRuns(), measured)];
  writeFileSync(
    FIGURES,
    await format(JSON.stringify({ runs }), { parser: 'json', printWidth: 100 }),
  );
  const readme = readFileSync(README, 'utf8');
  if (!SECTION.test(readme)) throw new Error('the README has no comment "table: performance"');
  writeFileSync(
    README,
    readme.replace(SECTION, () => `\n${renderPerformance(runs)}\n\n`),
  );
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await main(process.argv.slice(2));
}
