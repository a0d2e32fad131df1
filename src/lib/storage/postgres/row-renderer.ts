import { LARGE_BUNDLE_BYTES, RenderThread } from '../../protocol/render-thread.js';
import type { LogEntry, LogProcess, NewEntry, ReadOptions, Run } from '../../scheduler/ports.js';
import { entryOfRow, largeEntryOfRow, largeProcessOfRow, processOfRow } from './rows.js';
import type { MessageRow, ProcessRow } from './rows.js';

/** How an entry is to be shown, and whether it still is. */
export interface ShownOptions extends ReadOptions {
  readonly showAnchor: boolean;
}

/** The JSON of large entries that are to be inserted, as the wire form of jsonb. */
export type LargeTexts = Pick<ReadonlyMap<NewEntry, Uint8Array>, 'get'>;

/** What precedes the text in the binary form of a jsonb value: its version. */
const JSONB_VERSION = Buffer.from([1]);

/** Makes the JSON of rows: of small ones here and now, of large ones in a thread. */
export class RowRenderer {
  readonly #thread = new RenderThread();

  /** A promise only for a large entry. @throws DamagedEntryError; SuError `scheduler-busy` */
  entry(row: MessageRow, options: ShownOptions): LogEntry | Promise<LogEntry> {
    if (row.bundle.length <= LARGE_BUNDLE_BYTES) return entryOfRow(row, options);
    return largeEntryOfRow(row, (text) => this.#thread.render({ ...options, ...text }));
  }

  /** As `entry`, for a process. */
  async process(row: ProcessRow, options: ShownOptions): Promise<LogProcess> {
    if (row.bundle.length <= LARGE_BUNDLE_BYTES) return processOfRow(row, options);
    return largeProcessOfRow(row, (text) => this.#thread.render({ ...options, ...text }));
  }

  /** What the large entries of these runs look like in the columns of type jsonb; the others are left to the insert. */
  async largeTexts(runs: readonly Run[]): Promise<ReadonlyMap<NewEntry, Uint8Array>> {
    const texts = new Map<NewEntry, Uint8Array>();
    for (const entry of runs.flatMap((run) => run.entries)) {
      const { bundle, head, kind } = entry;
      if (bundle.length <= LARGE_BUNDLE_BYTES) continue;
      const { blockHeight, timestamp } = head;
      const text = await this.#thread.render({
        text: kind === 'process' ? 'process-data' : 'message-node',
        spawn: { blockHeight, timestamp },
        forJsonb: true,
        isUrgent: true,
        load: () => bundle,
      });
      texts.set(entry, Buffer.concat([JSONB_VERSION, text]));
    }
    return texts;
  }

  close(): Promise<void> {
    return this.#thread.close();
  }
}
