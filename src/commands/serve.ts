import { Args, Flags } from '@oclif/core';
import { BaseCommand, exitStatusHelp } from '../lib/cli/base-command.js';
import { catchHangups } from '../lib/cli/catch-hangups.js';
import { runUntilSignal } from '../lib/cli/run-until-signal.js';
import { readEnvironment } from '../lib/config/env.js';
import { readServeConfig } from '../lib/config/router-config.js';

/** An orchestrator that kills after the usual 30 s must find us gone by then. */
const CLOSE_DEADLINE_MS = 25_000;

/** `su serve`: config → open → wait for a signal → drain. */
export default class Serve extends BaseCommand {
  static override summary = 'Run the Scheduler Unit, or the router before several of them.';

  static override description = [
    'Reads its configuration from the environment and from .env in the working directory (variables that are set win); the README lists the variables.',
    'A router sends each process to one of the Scheduler Units of SCHEDULER_LIST_PATH, and reads that list again on SIGHUP.',
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
    {
      description: 'A router before two Scheduler Units, without any further configuration',
      command:
        '<%= config.bin %> <%= command.id %> router 9000 --local --su http://127.0.0.1:9001 --su http://127.0.0.1:9002',
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
        'bring an own wallet, gateway and bundler, kept in SU_DATA_DIR (default: ./su-data); a router brings a wallet alone (default: ./su-router-data)',
    }),
    su: Flags.string({
      multiple: true,
      multipleNonGreedy: true,
      description: 'a Scheduler Unit, instead of a list; several times (router with --local)',
      helpValue: 'URL',
    }),
  };

  override async run(): Promise<void> {
    const { args, flags } = await this.parse(Serve);
    const config = readServeConfig(readEnvironment(), { ...args, ...flags });
    const hangups = config.mode === 'router' ? catchHangups() : undefined;
    await runUntilSignal({
      // Loaded after the configuration was checked: a mistake there is answered at once.
      open: async () => {
        const { openRouter, openScheduler } = await import('../lib/wiring.js');
        if (config.mode === 'su') return openScheduler(config);
        const router = await openRouter(config);
        hangups?.follow(() => router.reload());
        return router;
      },
      onOpen: (server) => {
        for (const line of server.describe) this.logToStderr(line);
      },
      onStopping: (signal) => {
        this.logToStderr(`${signal}: finishing what was taken; once more stops at once`);
      },
      closeDeadlineMs: CLOSE_DEADLINE_MS,
    });
  }
}
