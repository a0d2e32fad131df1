import { Flags } from '@oclif/core';
import { BaseCommand, exitStatusHelp } from '../../lib/cli/base-command.js';
import { routesLines } from '../../lib/cli/routes-lines.js';
import { readEnvironment } from '../../lib/config/env.js';
import { readRoutesCheckConfig } from '../../lib/config/router-config.js';

/** `su routers:check`: does the router's world hang together? */
export default class RoutersCheck extends BaseCommand {
  static override summary = 'Check the list of Scheduler Units against the database and the SUs.';

  static override description = [
    'Asks every SU for its health, address and clock, compares the list with the database and the counts with the placements, and looks for a random sample of processes on the SUs that should have them.',
    'Works beside a running router. Changes nothing, except counts with --fix. Needs SCHEDULER_LIST_PATH, SU_WALLET_PATH and the store of su serve router: DATABASE_URL, else SU_DATA_DIR.',
    exitStatusHelp(0, 1, 2, 70),
  ].join('\n\n');

  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --json --sample 1000',
    {
      description: 'Make the counts what the placements say',
      command: '<%= config.bin %> <%= command.id %> --fix',
    },
  ];

  static override enableJsonFlag = true;

  static override flags = {
    fix: Flags.boolean({ default: false, description: 'repair the counts, and nothing else' }),
    sample: Flags.integer({
      default: 100,
      min: 1,
      max: 10_000,
      description: 'processes to look for at most',
    }),
  };

  override async run(): Promise<object> {
    const { flags } = await this.parse(RoutersCheck);
    const config = readRoutesCheckConfig(readEnvironment());
    const { openRoutesCheck } = await import('../../lib/wiring.js');
    const opened = await openRoutesCheck(config);
    try {
      const report = await opened.check({ fix: flags.fix, sampleSize: flags.sample });
      for (const line of routesLines(report)) this.log(line);
      if (report.faults > 0) process.exitCode = 1;
      return report;
    } finally {
      await opened.close();
    }
  }
}
