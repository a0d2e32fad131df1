import { Args, Flags } from '@oclif/core';
import { BaseCommand, exitStatusHelp } from '../../lib/cli/base-command.js';
import { readOperatorConfig } from '../../lib/config/config.js';
import { readEnvironment } from '../../lib/config/env.js';
import { SuError } from '../../lib/errors.js';

interface RetryOutput {
  readonly retried: number;
}

/** `su outbox:retry`: sends parked uploads again. */
export default class OutboxRetry extends BaseCommand {
  static override summary = 'Send parked uploads again.';

  static override description = [
    'Makes the named rows of outbox:list, or all parked ones, due now; a running server then sends them. A key that names no parked row is a fault (exit status 1).',
    exitStatusHelp(0, 1, 2, 70),
  ].join('\n\n');

  static override examples = [
    { description: 'All of them', command: '<%= config.bin %> <%= command.id %> --all' },
    {
      description: 'Two of them, by the keys that outbox:list shows',
      command: '<%= config.bin %> <%= command.id %> 17 18',
    },
  ];

  static override enableJsonFlag = true;
  /** Any number of keys. */
  static override strict = false;

  static override args = {
    key: Args.string({
      name: 'KEY',
      description: 'keys of rows, from outbox:list',
      ignoreStdin: true,
    }),
  };

  static override flags = {
    all: Flags.boolean({ default: false, description: 'all parked rows' }),
  };

  override async run(): Promise<RetryOutput> {
    const { flags, argv } = await this.parse(OutboxRetry);
    const keys = [...new Set(argv.map(String))];
    if (keys.length > 0 === flags.all) {
      this.error('name the keys of rows, or --all: one of the two', { exit: 2 });
    }
    const config = readOperatorConfig(readEnvironment());
    const { openOperator } = await import('../../lib/wiring.js');
    const operator = await openOperator(config);
    try {
      const retried = await operator.outbox.retry(flags.all ? 'all' : keys);
      this.log(`${retried} made due`);
      if (!flags.all && retried < keys.length) {
        const missing = keys.length - retried;
        throw new SuError('unknown-entry', `${missing} of ${keys.length} keys name no parked row`);
      }
      return { retried };
    } finally {
      await operator.close();
    }
  }
}
