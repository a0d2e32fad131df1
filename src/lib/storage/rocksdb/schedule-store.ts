import { SuError } from '../../errors.js';
import { parseProcessBundle } from '../../protocol/bundle.js';
import type { Id } from '../../protocol/ids.js';
import { duplicateError } from '../../scheduler/ports.js';
import type {
  Clock,
  Head,
  Receipt,
  ReceiptQuery,
  Run,
  RunOutcome,
  ScheduleStore,
} from '../../scheduler/ports.js';
import type { Database } from './database.js';
import type { Engine } from './engine.js';
import { findFirstAssign } from './find-assign.js';
import { headKey, messageKey, processKey, spawnKey } from './keys.js';
import type { RocksdbOutbox } from './outbox.js';
import { formatOutboxKey } from './outbox-key.js';
import { packRuns, renderRun, type RenderedRun } from './pack-runs.js';
import { decodeHead, decodePlaces, decodeSpawn } from './rows.js';

export interface ScheduleStoreParts {
  readonly engine: Engine;
  readonly outbox: Pick<RocksdbOutbox, 'noteAppended'>;
  readonly clock: Clock;
}

/** The writer's side of the embedded store; `ScheduleStore` has the promises. */
export class RocksdbScheduleStore implements ScheduleStore {
  readonly #parts: ScheduleStoreParts;

  constructor(parts: ScheduleStoreParts) {
    this.#parts = parts;
  }

  async append(runs: readonly Run[]): Promise<readonly RunOutcome[]> {
    const rendered = runs.map(renderRun);
    const good = rendered.flatMap((run) => ('error' in run ? [] : [run]));
    const outcomes = good.length === 0 ? [] : await this.#write(good);
    let next = 0;
    return rendered.map((run): RunOutcome => {
      if ('error' in run) return { status: 'refused', ...run };
      return outcomes[next++] ?? { status: 'unknown', error: unanswered() };
    });
  }

  async #write(rendered: readonly RenderedRun[]): Promise<readonly RunOutcome[]> {
    const { engine, outbox, clock } = this.#parts;
    const { runs, payload } = packRuns(rendered);
    try {
      const answer = await engine.write({ kind: 'append', runs, now: clock() }, payload);
      if (answer.kind !== 'append') throw unanswered();
      return answer.runs.map((run): RunOutcome => {
        if (run.status === 'moved') return run;
        if (run.status === 'duplicate') {
          return { status: 'refused', index: run.index, error: duplicateError(run.first) };
        }
        outbox.noteAppended(run.sequences);
        return { status: 'appended', outboxKeys: run.sequences.map(formatOutboxKey) };
      });
    } catch (cause) {
      const error =
        cause instanceof SuError
          ? cause
          : new SuError('store-unavailable', 'the store could not write', {
              cause,
              retryAfterSeconds: 1,
            });
      return runs.map(() => ({ status: 'unknown', error }));
    }
  }

  async readHeads(processIds: readonly Id[]): Promise<readonly (Head | undefined)[]> {
    const database = await this.#parts.engine.database();
    const values = database.readMany('default', processIds.map(headKey));
    return values.map((value) => value && decodeHead(value));
  }

  async findReceipts(queries: readonly ReceiptQuery[]): Promise<readonly (Receipt | undefined)[]> {
    const database = await this.#parts.engine.database();
    // One look into the database for all that have a key; assigns need a search each.
    const keyed = queries.flatMap((query) => (query.kind === 'assign' ? [] : [query]));
    const values = database.readMany(
      'default',
      keyed.map(({ kind, id }) => (kind === 'process' ? spawnKey(id) : messageKey(id))),
    );
    const timestamps = new Map(
      keyed.map((query, index) => [query, readTimestamp(query.kind, values[index])]),
    );
    return queries.map((query) => {
      if (query.kind === 'assign') return findFirstAssign(database, query);
      const timestamp = timestamps.get(query);
      return timestamp === undefined ? undefined : { id: query.id, timestamp };
    });
  }

  async findProcessTags(
    processId: Id,
  ): Promise<readonly { name: string; value: string }[] | undefined> {
    const bundle = readProcessBundle(await this.#parts.engine.database(), processId);
    return bundle && [...(parseProcessBundle(bundle).item?.tags ?? [])];
  }
}

function readProcessBundle(database: Database, processId: Id): Buffer | undefined {
  return database.read('bundles', processKey(processId));
}

function readTimestamp(kind: 'process' | 'message', value: Buffer | undefined): number | undefined {
  if (value === undefined) return undefined;
  return kind === 'process' ? decodeSpawn(value).timestamp : decodePlaces(value)[0]?.timestamp;
}

function unanswered(): SuError {
  return new SuError('invariant', 'the writer left a run without an answer');
}
