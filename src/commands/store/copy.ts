import { Flags } from '@oclif/core';
import { abortOnSignal } from '../../lib/cli/abort-on-signal.js';
import { BaseCommand, exitStatusHelp } from '../../lib/cli/base-command.js';
import { openProgress } from '../../lib/cli/progress.js';
import { readEnvironment } from '../../lib/config/env.js';
import { readCopyConfig } from '../../lib/config/migrator-config.js';
import { SuError } from '../../lib/errors.js';

/** `su store:copy`: every log of one store into another. */
export default class StoreCopy extends BaseCommand {
  static override summary = 'Copy every log from one store into another.';

  static override description = [
    'From a folder to PostgreSQL or back, byte for byte, uploads that are still to be made included. Each log is read back and compared. What the target has already is compared and left alone, so a copy that was stopped is begun again with the same command, and one of a server that runs can be caught up later; the last run must find it stopped.',
    'A target that has diverged or gone on is refused. A store is a folder, a postgres:// URL, or the word DATABASE_URL or SU_DATA_DIR for what that variable holds. The tables of a router are not copied.',
    exitStatusHelp(0, 1, 2, 70, 130),
  ].join('\n\n');

  static override examples = [
    '<%= config.bin %> <%= command.id %> --from ./su-data --to DATABASE_URL',
    '<%= config.bin %> <%= command.id %> --from DATABASE_URL --to /var/lib/su --json',
  ];

  static override enableJsonFlag = true;

  static override flags = {
    from: Flags.string({ required: true, description: 'the store to read' }),
    to: Flags.string({ required: true, description: 'the store to write' }),
    parallel: Flags.integer({
      default: 4,
      min: 1,
      max: 32,
      description: 'processes copied at a time',
    }),
  };

  override async run(): Promise<object> {
    const { flags } = await this.parse(StoreCopy);
    const config = readCopyConfig(readEnvironment(), flags);
    const { copyBetweenStores } = await import('../../lib/wiring.js');
    const progress = openProgress({ name: 'copy', unit: 'processes' });
    const stop = abortOnSignal(() => {
      this.logToStderr('stopping at the end of a batch; once more stops at once');
    });
    try {
      const report = await copyBetweenStores(config, {
        parallel: flags.parallel,
        signal: stop.signal,
        onProgress: ({ processes, processesTotal, messages, written }) =>
          progress.update(processes, processesTotal, `${messages} messages, ${written} new`),
      });
      progress.stop();
      if (!report.complete) {
        throw new SuError('interrupted', 'stopped: the same command goes on where it was');
      }
      this.log(`${report.processes} processes, ${report.messages} messages, ${report.written} new`);
      this.log(`${report.queued} entries with uploads still to be made`);
      this.log(`the same on both sides: ${report.digest}`);
      return report;
    } finally {
      progress.stop();
      stop.release();
    }
  }
}
