import { Flags } from '@oclif/core';
import { abortOnSignal } from '../../lib/cli/abort-on-signal.js';
import { BaseCommand, exitStatusHelp } from '../../lib/cli/base-command.js';
import { openProgress } from '../../lib/cli/progress.js';
import { readDiskCommandConfig } from '../../lib/config/disk-config.js';
import { readEnvironment } from '../../lib/config/env.js';
import { SuError } from '../../lib/errors.js';

/** `su disk:check`: compares the disk copy with the database. */
export default class DiskCheck extends BaseCommand {
  static override summary = 'Compare the disk copy (USE_DISK) with PostgreSQL.';

  static override description = [
    'For each process: the number of messages on the disk, and the hash chain at the last of them, against DATABASE_URL. With --repair what differs is removed and copied again, and what is behind is completed. A log that is behind is no fault: it is read from the database meanwhile.',
    'A running server is asked over its socket in SU_DATA_DIR. A folder that cannot be read at all is made anew: stop the server, remove it, and run su migrate-disk 0.',
    exitStatusHelp(0, 1, 2, 70, 130),
  ].join('\n\n');

  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --repair --json',
  ];

  static override enableJsonFlag = true;

  static override flags = {
    repair: Flags.boolean({
      default: false,
      description: 'copy again what differs, complete what is behind',
    }),
  };

  override async run(): Promise<object> {
    const { flags } = await this.parse(DiskCheck);
    const config = readDiskCommandConfig(readEnvironment());
    const { checkDiskCopy } = await import('../../lib/wiring.js');
    const progress = openProgress({ name: 'check', unit: 'processes' });
    const stop = abortOnSignal(() => {
      this.logToStderr('stopping after these processes; once more stops at once');
    });
    const findings: object[] = [];
    try {
      const report = await checkDiskCopy(config, {
        repair: flags.repair,
        signal: stop.signal,
        onFinding: (finding) => {
          findings.push(finding);
          const { fault, processId, sentence, isRepaired } = finding;
          this.log(`${fault}  ${processId}  ${sentence}${isRepaired ? '  (repaired)' : ''}`);
        },
        onProgress: (processes) => progress.update(processes, processes, ''),
      });
      progress.stop();
      if (!report.complete) throw new SuError('interrupted', 'stopped before all were compared');
      const { processes, entries, behind, faults, repaired } = report;
      this.log(
        `${processes} processes, ${entries} messages on the disk; ${behind} behind, ${faults} faults, ${repaired} repaired`,
      );
      if (faults > 0 && !flags.repair) process.exitCode = 1;
      if (flags.repair && findings.some((one) => 'isRepaired' in one && one.isRepaired === false)) {
        process.exitCode = 1;
      }
      return { ...report, findings };
    } finally {
      progress.stop();
      stop.release();
    }
  }
}
