import { Args, Flags } from '@oclif/core';
import { BaseCommand, exitStatusHelp } from '../lib/cli/base-command.js';
import { runUntilSignal } from '../lib/cli/run-until-signal.js';
import { readSchedulerConfig } from '../lib/config/config.js';
import { readEnvironment } from '../lib/config/env.js';

/** An orchestrator that kills after the usual 30 s must find us gone by then. */
const CLOSE_DEADLINE_MS = 25_000;

/** `su serve`: config → open → wait for a signal → drain. */
export default class Serve extends BaseCommand {
  static override summary = 'Run the Scheduler Unit.';

  static override description = [
    'Reads its configuration from the environment and from .env in the working directory (variables that are set win); the README lists the variables.',
    'SIGTERM or Ctrl-C finishes what was taken and stops within 25 s; a second one stops at once.',
    exitStatusHelp(0, 1, 2, 70, 130),
  ].join('\n\n');

  static override examples = [
    {
      description: 'Everything in one program, without any configuration',
      command: '<%= config.bin %> <%= command.id %> su --local',
    },
    {
      description: 'In production, configured by the environment',
      command: '<%= config.bin %> <%= command.id %> su 9000',
    },
    {
      description: 'Behind a proxy on the same machine',
      command: '<%= config.bin %> <%= command.id %> su 9000 --host 127.0.0.1',
    },
  ];

  static override args = {
    mode: Args.string({
      ignoreStdin: true,
      name: 'MODE',
      description: 'su or router (default: MODE, else su)',
    }),
    port: Args.string({
      ignoreStdin: true,
      name: 'PORT',
      description: 'port to listen on, 0 for any (default: PORT, else 9000)',
    }),
  };

  static override flags = {
    host: Flags.string({
      description: 'address to listen on (default: 0.0.0.0, with --local 127.0.0.1)',
      helpValue: 'ADDRESS',
    }),
    local: Flags.boolean({
      description:
        'bring an own wallet, gateway and bundler, kept in SU_DATA_DIR (default: ./su-data)',
    }),
  };

  override async run(): Promise<void> {
    const { args, flags } = await this.parse(Serve);
    const config = readSchedulerConfig(readEnvironment(), { ...args, ...flags });
    await runUntilSignal({
      // Loaded after the configuration was checked: a mistake there is answered at once.
      open: async () => (await import('../lib/wiring.js')).openScheduler(config),
      onOpen: (scheduler) => {
        for (const line of scheduler.describe) this.logToStderr(line);
      },
      onStopping: (signal) => {
        this.logToStderr(`${signal}: finishing what was taken; once more stops at once`);
      },
      closeDeadlineMs: CLOSE_DEADLINE_MS,
    });
  }
}
