import { Flags } from '@oclif/core';
import { abortOnSignal } from '../../lib/cli/abort-on-signal.js';
import { BaseCommand, exitStatusHelp } from '../../lib/cli/base-command.js';
import { openProgress } from '../../lib/cli/progress.js';
import { parseSince } from '../../lib/cli/since.js';
import { readEnvironment } from '../../lib/config/env.js';
import { readSealConfig } from '../../lib/config/migrator-config.js';
import { SuError } from '../../lib/errors.js';

/** `su bundles:seal`: signs the wrappers that were never signed. */
export default class BundlesSeal extends BaseCommand {
  static override summary = 'Sign the stored wrappers that were never signed.';

  static override description = [
    'A message and its assignment are published one by one, so the wrapper around them is stored unsigned. For going back to the Rust implementation and its tools, this signs every such wrapper in place, one signature each; nothing else of it changes.',
    'Needs the wallet that scheduled the entries. Works beside a running server. Begun again it goes on where it was stopped.',
    exitStatusHelp(0, 2, 70, 130),
  ].join('\n\n');

  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    {
      description: 'Only what was scheduled in the last week',
      command: '<%= config.bin %> <%= command.id %> --since 7d',
    },
  ];

  static override enableJsonFlag = true;

  static override flags = {
    since: Flags.string({ description: 'only what was scheduled since: ms, a date, or 24h, 7d' }),
  };

  override async run(): Promise<object> {
    const { flags } = await this.parse(BundlesSeal);
    const since = flags.since === undefined ? undefined : parseSince(flags.since, Date.now());
    const config = readSealConfig(readEnvironment());
    const { sealStoredBundles } = await import('../../lib/wiring.js');
    const progress = openProgress({ name: 'seal', unit: 'processes' });
    const stop = abortOnSignal(() => {
      this.logToStderr('stopping at the end of a batch; once more stops at once');
    });
    try {
      const counts = await sealStoredBundles(config, {
        since,
        signal: stop.signal,
        onProgress: ({ processes, processesTotal, bundles, sealed }) =>
          progress.update(processes, processesTotal, `${bundles} wrappers, ${sealed} signed`),
      });
      progress.stop();
      this.log(`${counts.bundles} wrappers looked at, ${counts.sealed} signed`);
      if (counts.unreadable > 0) {
        this.log(`${counts.unreadable} cannot be read and were left alone: su verify names them`);
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
