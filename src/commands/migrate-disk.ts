import { availableParallelism } from 'node:os';
import { Args, Flags } from '@oclif/core';
import { abortOnSignal } from '../lib/cli/abort-on-signal.js';
import { BaseCommand, exitStatusHelp } from '../lib/cli/base-command.js';
import { openSegmentProgress } from '../lib/cli/segment-progress.js';
import { readDiskCommandConfig } from '../lib/config/disk-config.js';
import { readEnvironment } from '../lib/config/env.js';

/** `su migrate-disk RANGE`: fills the disk copy from the database. */
export default class MigrateDisk extends BaseCommand {
  static override summary = 'Fill the disk copy (USE_DISK) from PostgreSQL.';

  static override description = [
    'Copies messages of DATABASE_URL, in the order of their rows, and all processes, into SU_DATA_DIR. RANGE counts rows: 0 is all of them, 0-1000 the first 1000, 1000 all but those, 1000-2000 the next 1000. An open end stops before rows that are just being written.',
    'Stopped with Ctrl-C, or killed, it goes on where it was when it is run again; rows that were copied are not read again (--restart reads them again). The server need not stand still, but must not hold the folder meanwhile: it copies what is missing by itself.',
    exitStatusHelp(0, 1, 2, 70, 130),
  ].join('\n\n');

  static override examples = [
    { description: 'Everything', command: '<%= config.bin %> <%= command.id %> 0' },
    {
      description: 'The first million rows, four at a time, compared afterwards',
      command: '<%= config.bin %> <%= command.id %> 0-1000000 --segments 4 --verify',
    },
    { description: 'All behind them', command: '<%= config.bin %> <%= command.id %> 1000000' },
  ];

  static override enableJsonFlag = true;

  static override args = {
    range: Args.string({
      ignoreStdin: true,
      required: true,
      name: 'RANGE',
      description: 'rows to copy: 0, 0-1000, 1000 or 1000-2000',
    }),
  };

  static override flags = {
    segments: Flags.integer({
      min: 1,
      max: 64,
      description: 'parts of the range that are copied side by side (default: one a core)',
    }),
    verify: Flags.boolean({ default: false, description: 'read everything back and compare it' }),
    restart: Flags.boolean({
      default: false,
      description: 'copy again what earlier runs have copied',
    }),
  };

  override async run(): Promise<object> {
    const { args, flags } = await this.parse(MigrateDisk);
    const config = readDiskCommandConfig(readEnvironment());
    const { migrateToDisk } = await import('../lib/wiring.js');
    const progress = openSegmentProgress({ unit: 'rows' });
    const stop = abortOnSignal(() => {
      progress.say('stopping at the end of a batch; once more stops at once');
    });
    const { verify, restart, segments = availableParallelism() } = flags;
    try {
      const summary = await migrateToDisk(
        config,
        { range: args.range, segments, verify, restart },
        {
          signal: stop.signal,
          events: {
            planned: (plan) =>
              progress.begin(
                plan.segments.map(({ count }) => count),
                plan.rowsBefore,
              ),
            batch: (segment, rows) => progress.advance(segment, rows),
            retried: (error, attempt) =>
              progress.say(`a batch failed (${error.message}), attempt ${attempt}: trying again`),
            phase: (name) => {
              if (name === 'verifying') progress.say('comparing what is on the disk');
            },
            verified: () => undefined,
          },
        },
      );
      progress.stop();
      const { rows, rowsCopied, processes, durationMs, rowsVerified } = summary;
      const rowsPerSecond = Math.round((rowsCopied * 1000) / Math.max(1, durationMs));
      this.log(
        `${rowsCopied} of the range's ${rows} rows copied (the others were there), ${processes} processes, ` +
          `${(durationMs / 1000).toFixed(1)} s, ${rowsPerSecond} rows/s`,
      );
      if (rowsVerified !== undefined) this.log(`${rowsVerified} rows compared: the same`);
      return { ...summary, rowsPerSecond };
    } finally {
      progress.stop();
      stop.release();
    }
  }
}
