import { Flags } from '@oclif/core';
import { BaseCommand, exitStatusHelp } from '../../lib/cli/base-command.js';
import { readMigrationConfig } from '../../lib/config/config.js';
import { readEnvironment } from '../../lib/config/env.js';

interface Version {
  readonly version: string;
  readonly name: string | undefined;
  readonly state: 'applied' | 'pending' | 'unknown';
  readonly appliedAt: string | undefined;
}

interface Planned {
  readonly version: string;
  readonly name: string;
  readonly sql: string;
}

interface MigrateOutput {
  /** The versions applied by this call. */
  readonly applied: readonly string[];
  /** Where the schema stands after it. */
  readonly versions: readonly Version[];
  /** With --dry-run: what would be run. */
  readonly planned?: readonly Planned[];
  /** With --status: where the tables do not fit their versions. */
  readonly faults?: readonly string[];
  readonly warnings?: readonly string[];
}

/** `su db:migrate`: brings the schema of DATABASE_URL up to this version, or says where it stands. */
export default class DbMigrate extends BaseCommand {
  static override summary = 'Bring the PostgreSQL schema up to date, or say where it stands.';

  static override description = [
    'Works on DATABASE_URL. su serve does the same at its start. Safe beside a running server, and twice at once: one works, the other waits.',
    'Each version is applied in its own transaction, but for the one that builds large indexes beside a running server; how far those have come is logged. No row is changed.',
    'With --status nothing is changed, and a version that is pending, or a table that does not fit its versions, is a fault (exit status 1). With --dry-run the SQL is printed and not run.',
    exitStatusHelp(0, 1, 2, 70),
  ].join('\n\n');

  static override examples = [
    { description: 'Apply what is missing', command: '<%= config.bin %> <%= command.id %>' },
    {
      description: 'List the versions, change nothing',
      command: '<%= config.bin %> <%= command.id %> --status',
    },
    {
      description: 'Print what would be run',
      command: '<%= config.bin %> <%= command.id %> --dry-run',
    },
  ];

  static override enableJsonFlag = true;

  static override flags = {
    status: Flags.boolean({
      description:
        'only list the versions, whether and when each was applied, and what does not fit',
      exclusive: ['dry-run'],
    }),
    'dry-run': Flags.boolean({ description: 'only print the SQL that would be run' }),
  };

  override async run(): Promise<MigrateOutput> {
    const { flags } = await this.parse(DbMigrate);
    const config = readMigrationConfig(readEnvironment());
    const { openMigrator } = await import('../../lib/wiring.js');
    const migrator = await openMigrator(config);
    try {
      if (flags['dry-run']) {
        const planned = await migrator.plan();
        this.showPlan(planned);
        return { applied: [], versions: await migrator.status(), planned };
      }
      if (flags.status) {
        const versions = await migrator.status();
        const findings = await migrator.inspect();
        this.showStatus(versions, findings);
        return { applied: [], versions, ...findings };
      }
      const applied = await migrator.migrate();
      const versions = await migrator.status();
      this.showApplied(applied, versions);
      return { applied, versions };
    } finally {
      await migrator.close();
    }
  }

  private showStatus(
    versions: readonly Version[],
    { faults, warnings }: { faults: readonly string[]; warnings: readonly string[] },
  ): void {
    for (const { version, name, state, appliedAt } of versions) {
      const when = (appliedAt ?? '').padEnd(19);
      this.log(`${state.padEnd(7)}  ${version}  ${when}  ${name ?? '(not one of this program)'}`);
    }
    for (const fault of faults) this.log(`fault    ${fault}`);
    for (const warning of warnings) this.log(`warning  ${warning}`);
    const isPending = versions.some(({ state }) => state === 'pending');
    if (isPending || faults.length > 0) process.exitCode = 1;
  }

  /** SQL with comments, so that it can be read, kept, or given to psql. */
  private showPlan(planned: readonly Planned[]): void {
    if (planned.length === 0) this.log('-- nothing to do: all versions are applied');
    for (const { version, name, sql } of planned) this.log(`-- ${version} ${name}\n${sql}`);
  }

  private showApplied(applied: readonly string[], versions: readonly Version[]): void {
    for (const version of applied) this.log(`applied  ${version}`);
    const known = versions.filter(({ state }) => state === 'applied');
    this.log(
      applied.length === 0
        ? `nothing to do: all ${known.length} versions are applied`
        : `${applied.length} applied, the schema is at ${known.at(-1)?.version ?? 'none'}`,
    );
  }
}
