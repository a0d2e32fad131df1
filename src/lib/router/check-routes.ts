import { isSuError, type SuError } from '../errors.js';
import type { Id } from '../protocol/ids.js';
import type {
  ListedScheduler,
  Placement,
  RepairedCount,
  RouteInspection,
  SchedulerClient,
  StoredScheduler,
} from './ports.js';

/*
 * The operator's look at a router's world: the list, the store, and what every SU says of itself.
 *
 * A fault is what makes the router work otherwise than the operator means, or a client be served wrongly. A notice is what
 * may well be intended.
 */

export interface Finding {
  readonly level: 'fault' | 'notice';
  /** The SU it is about; undefined when it is about no single one. */
  readonly scheduler: string | undefined;
  readonly sentence: string;
}

/** One SU, from all sides. */
export interface CheckedScheduler {
  readonly url: string;
  readonly isListed: boolean;
  readonly isStored: boolean;
  /** `away`: it does not answer. */
  readonly health: 'ready' | 'waiting' | 'away';
  readonly address: string | undefined;
  /** Its clock minus ours, ms, to within half the latency. */
  readonly skewMs: number | undefined;
  readonly latencyMs: number | undefined;
  /** As counted; undefined when it is not stored. */
  readonly processCount: number | undefined;
  /** Placements that are stored. */
  readonly placements: number;
}

export interface SampleResult {
  readonly asked: number;
  /** Known to the SU they are placed on. */
  readonly found: number;
  /** Known to no SU: the client never followed the redirect. */
  readonly unknown: number;
  /** Known to another SU. */
  readonly elsewhere: number;
  /** Their SU did not answer. */
  readonly unasked: number;
}

export interface RoutesReport {
  readonly schedulers: readonly CheckedScheduler[];
  readonly sample: SampleResult;
  readonly findings: readonly Finding[];
  /** Empty unless counts were to be repaired. */
  readonly repaired: readonly RepairedCount[];
  readonly faults: number;
}

export interface CheckRoutesOptions {
  readonly list: readonly ListedScheduler[];
  /** Undefined: there is no store yet. */
  readonly routes: RouteInspection | undefined;
  readonly client: SchedulerClient;
  /** Address of the wallet that the SUs are to sign with. */
  readonly address: string;
  /** Any id; a random one makes the sample random. */
  readonly sampleFrom: Id;
  readonly sampleSize: number;
  readonly fix: boolean;
  /** Wall clock, ms. */
  readonly clock: () => number;
  readonly monotonicMs: () => number;
}

/** Messages are ordered by time: an SU that is further off than this is wrong for its clients. */
const SKEW_MS_MAX = 5_000;
const QUESTIONS_AT_ONCE = 8;

/** Looks at everything, and repairs counts when asked to; changes nothing else. */
export async function checkRoutes(options: CheckRoutesOptions): Promise<RoutesReport> {
  const { list, routes, fix } = options;
  const findings: Finding[] = [];
  const repaired = fix ? ((await routes?.repairCounts()) ?? []) : [];
  const stored = (await routes?.readSchedulers()) ?? [];
  const counts = (await routes?.countPlacements()) ?? new Map<number, number>();
  if (stored.length === 0) {
    findings.push(
      notice(undefined, 'the database holds no Scheduler Unit yet: no router has run on it'),
    );
  } else {
    findings.push(...compareWithStore(list, stored, counts));
  }
  findings.push(...stored.flatMap((scheduler) => checkCount(scheduler, counts)));
  const urls = [...new Set([...list.map(({ url }) => url), ...stored.map(({ url }) => url)])];
  const schedulers = await mapBounded(urls, async (url) => {
    const asked = await askScheduler(options, url);
    const row = stored.find((scheduler) => scheduler.url === url);
    findings.push(...asked.findings);
    return {
      url,
      isListed: list.some((listed) => listed.url === url),
      isStored: row !== undefined,
      ...asked.answers,
      processCount: row?.processCount,
      placements: row === undefined ? 0 : (counts.get(row.rowId) ?? 0),
    };
  });
  const away = new Set(schedulers.filter(({ health }) => health === 'away').map(({ url }) => url));
  const sample = await checkSample(options, { stored, away, findings });
  const faults = findings.filter(({ level }) => level === 'fault').length;
  return { schedulers, sample, findings, repaired, faults };
}

function fault(scheduler: string | undefined, sentence: string): Finding {
  return { level: 'fault', scheduler, sentence };
}

function notice(scheduler: string | undefined, sentence: string): Finding {
  return { level: 'notice', scheduler, sentence };
}

function compareWithStore(
  list: readonly ListedScheduler[],
  stored: readonly StoredScheduler[],
  counts: ReadonlyMap<number, number>,
): readonly Finding[] {
  const findings: Finding[] = [];
  for (const listed of list) {
    const row = stored.find(({ url }) => url === listed.url);
    if (row === undefined) {
      findings.push(
        fault(
          listed.url,
          'is in the list and not in the database: restart the router, or send it SIGHUP',
        ),
      );
      continue;
    }
    const changed = changedFlags(listed, row);
    if (changed.length > 0) {
      const sentence = `${changed.join(', ')} differ from the list: restart the router, or send it SIGHUP`;
      findings.push(fault(listed.url, sentence));
    }
  }
  for (const { url, rowId } of stored) {
    if (list.some((listed) => listed.url === url)) continue;
    const placements = counts.get(rowId) ?? 0;
    const finding = placements > 0 ? fault : notice;
    findings.push(
      finding(url, `is in the database and not in the list, with ${placements} processes`),
    );
  }
  return findings;
}

function changedFlags(listed: ListedScheduler, stored: StoredScheduler): readonly string[] {
  const wallets = (scheduler: ListedScheduler): string =>
    scheduler.walletsToRoute.toSorted().join(',');
  return [
    ...(listed.noRoute === stored.noRoute ? [] : ['no_route']),
    ...(wallets(listed) === wallets(stored) ? [] : ['wallets_to_route']),
    ...(listed.walletsOnly === stored.walletsOnly ? [] : ['wallets_only']),
  ];
}

function checkCount(
  { url, rowId, processCount }: StoredScheduler,
  counts: ReadonlyMap<number, number>,
): readonly Finding[] {
  const placements = counts.get(rowId) ?? 0;
  if (placements === processCount) return [];
  return [
    fault(url, `is counted with ${processCount} processes and has ${placements}: --fix repairs it`),
  ];
}

interface Asked {
  readonly answers: Pick<CheckedScheduler, 'health' | 'address' | 'skewMs' | 'latencyMs'>;
  readonly findings: readonly Finding[];
}

async function askScheduler(options: CheckRoutesOptions, url: string): Promise<Asked> {
  const { client, clock, monotonicMs } = options;
  try {
    const health = await client.fetchHealth(url);
    const startedAt = monotonicMs();
    const { address, timestamp } = await client.fetchInfo(url);
    const latencyMs = Math.round(monotonicMs() - startedAt);
    // Its clock was read half way, as well as one can know.
    const skewMs = Math.round(timestamp - (clock() - latencyMs / 2));
    const answers = { health, address, skewMs, latencyMs };
    const findings: Finding[] = [];
    if (health === 'waiting') findings.push(fault(url, 'is not ready: its /health answers 503'));
    if (address !== options.address) {
      findings.push(
        fault(url, `signs as ${address}, and the router's wallet is ${options.address}`),
      );
    }
    if (Math.abs(skewMs) > SKEW_MS_MAX) {
      findings.push(fault(url, `its clock is ${skewMs} ms off ours`));
    }
    return { answers, findings };
  } catch (error) {
    if (!isSuError(error, 'scheduler-unavailable', 'scheduler-timeout')) throw error;
    const answers = {
      health: 'away',
      address: undefined,
      skewMs: undefined,
      latencyMs: undefined,
    } as const;
    return {
      answers,
      findings: [fault(url, whyAway(error))],
    };
  }
}

function whyAway({ code, details }: SuError): string {
  const { reason } = details;
  if (code === 'scheduler-timeout') return 'does not answer in time';
  return typeof reason === 'string' ? `does not answer (${reason})` : 'does not answer';
}

interface SampleParts {
  readonly stored: readonly StoredScheduler[];
  /** URLs of the SUs that do not answer. */
  readonly away: ReadonlySet<string>;
  readonly findings: Finding[];
}

async function checkSample(options: CheckRoutesOptions, parts: SampleParts): Promise<SampleResult> {
  const { routes, sampleFrom, sampleSize } = options;
  const placements = (await routes?.samplePlacements(sampleFrom, sampleSize)) ?? [];
  const results = await mapBounded(placements, (placement) =>
    checkPlacement(options.client, placement, parts),
  );
  const count = (result: SampledAs): number => results.filter((each) => each === result).length;
  return {
    asked: placements.length,
    found: count('found'),
    unknown: count('unknown'),
    elsewhere: count('elsewhere'),
    unasked: count('unasked'),
  };
}

type SampledAs = 'found' | 'unknown' | 'elsewhere' | 'unasked';

async function checkPlacement(
  client: Pick<SchedulerClient, 'fetchKnowsProcess'>,
  { processId, rowId }: Placement,
  { stored, away, findings }: SampleParts,
): Promise<SampledAs> {
  const home = stored.find((scheduler) => scheduler.rowId === rowId);
  if (home === undefined) {
    findings.push(
      fault(undefined, `process ${processId} is placed on row ${rowId}, which is no SU`),
    );
    return 'unasked';
  }
  const knows = async (url: string): Promise<boolean | undefined> =>
    away.has(url) ? undefined : askKnows(client, url, processId);
  const atHome = await knows(home.url);
  if (atHome === true) return 'found';
  const others = stored.filter(({ url }) => url !== home.url);
  const answers = await Promise.all(others.map(({ url }) => knows(url)));
  const other = others[answers.indexOf(true)];
  if (other !== undefined) {
    findings.push(fault(home.url, `process ${processId} is placed here, and ${other.url} has it`));
    return 'elsewhere';
  }
  if (atHome === undefined) return 'unasked';
  findings.push(
    notice(home.url, `does not know process ${processId}: its spawn was never sent on to it`),
  );
  return 'unknown';
}

/** Undefined when the SU cannot be asked. */
async function askKnows(
  client: Pick<SchedulerClient, 'fetchKnowsProcess'>,
  url: string,
  processId: Id,
): Promise<boolean | undefined> {
  try {
    return await client.fetchKnowsProcess(url, processId);
  } catch (error) {
    if (isSuError(error, 'scheduler-unavailable', 'scheduler-timeout')) return undefined;
    throw error;
  }
}

/** Does the work for all, in their order, a few at a time. */
async function mapBounded<Item, Result>(
  items: readonly Item[],
  work: (item: Item) => Promise<Result>,
): Promise<readonly Result[]> {
  const results: Result[] = [];
  for (let at = 0; at < items.length; at += QUESTIONS_AT_ONCE) {
    const piece = items.slice(at, at + QUESTIONS_AT_ONCE);
    results.push(...(await Promise.all(piece.map(work))));
  }
  return results;
}
