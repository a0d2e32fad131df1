import { Args, Flags } from '@oclif/core';
import { abortOnSignal } from '../../lib/cli/abort-on-signal.js';
import { BaseCommand, exitStatusHelp } from '../../lib/cli/base-command.js';
import { openProgress } from '../../lib/cli/progress.js';
import { parseSince } from '../../lib/cli/since.js';
import { readOperatorConfig } from '../../lib/config/config.js';
import { readEnvironment } from '../../lib/config/env.js';
import { SuError } from '../../lib/errors.js';

/** `su outbox:requeue`: uploads what is stored once more. */
export default class OutboxRequeue extends BaseCommand {
  static override summary = 'Upload stored entries once more.';

  static override description = [
    'Queues the uploads of entries that are stored already, for what another implementation may have lost when it stopped: it kept its uploads in memory. A bundler that has an item takes it again without harm. What waits in the outbox already is not queued twice.',
    'Works beside a running server, which then sends them. Either processes or --all; with --since only what was scheduled since then.',
    exitStatusHelp(0, 1, 2, 70, 130),
  ].join('\n\n');

  static override examples = [
    {
      description: 'What was scheduled in the last day, of all processes',
      command: '<%= config.bin %> <%= command.id %> --all --since 24h',
    },
    {
      description: 'Two processes from their beginning',
      command: '<%= config.bin %> <%= command.id %> PROCESS PROCESS',
    },
  ];

  static override enableJsonFlag = true;
  /** Any number of processes. */
  static override strict = false;

  static override args = {
    process: Args.string({
      name: 'PROCESS',
      description: 'ids of processes',
      ignoreStdin: true,
    }),
  };

  static override flags = {
    all: Flags.boolean({ default: false, description: 'all processes' }),
    since: Flags.string({ description: 'only what was scheduled since: ms, a date, or 24h, 7d' }),
  };

  override async run(): Promise<object> {
    const { flags, argv } = await this.parse(OutboxRequeue);
    const processes = [...new Set(argv.map(String))];
    if (processes.length > 0 === flags.all) {
      this.error('name processes, or --all: one of the two', { exit: 2 });
    }
    const since = flags.since === undefined ? undefined : parseSince(flags.since, Date.now());
    const config = readOperatorConfig(readEnvironment());
    const { requeueStoredUploads } = await import('../../lib/wiring.js');
    const progress = openProgress({ name: 'requeue', unit: 'processes' });
    const stop = abortOnSignal(() => {
      this.logToStderr('stopping after the piece under way; once more stops at once');
    });
    try {
      const counts = await requeueStoredUploads(config, {
        processes,
        since,
        signal: stop.signal,
        onProgress: ({ processes: done, processesTotal, entries, queued }) =>
          progress.update(done, processesTotal, `${entries} entries, ${queued} queued`),
      });
      progress.stop();
      this.log(`${counts.queued} entries queued, ${counts.waiting} were waiting already`);
      if (counts.unreadable > 0) {
        this.log(`${counts.unreadable} cannot be read: su verify names them`);
      }
      if (stop.signal.aborted) {
        throw new SuError('interrupted', 'stopped: the same command goes on where it was');
      }
      return counts;
    } finally {
      progress.stop();
      stop.release();
    }
  }
}
