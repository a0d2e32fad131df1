import { Flags } from '@oclif/core';
import { BaseCommand, exitStatusHelp } from '../../lib/cli/base-command.js';
import { readMigrationConfig } from '../../lib/config/config.js';
import { readEnvironment } from '../../lib/config/env.js';

interface Version {
  readonly version: string;
  readonly name: string | undefined;
  readonly state: 'applied' | 'pending' | 'unknown';
}

interface MigrateOutput {
  /** The versions applied by this call. */
  readonly applied: readonly string[];
  /** Where the schema stands after it. */
  readonly versions: readonly Version[];
}

/** `su db:migrate`: brings the schema of DATABASE_URL up to this version, or says where it stands. */
export default class DbMigrate extends BaseCommand {
  static override summary = 'Bring the PostgreSQL schema up to date, or say where it stands.';

  static override description = [
    'Works on DATABASE_URL. su serve does the same at its start. Safe beside a running server, and twice at once: one works, the other waits.',
    'With --status nothing is changed, and a version that is pending is a fault (exit status 1).',
    exitStatusHelp(0, 1, 2, 70),
  ].join('\n\n');

  static override examples = [
    { description: 'Apply what is missing', command: '<%= config.bin %> <%= command.id %>' },
    {
      description: 'List the versions, change nothing',
      command: '<%= config.bin %> <%= command.id %> --status',
    },
  ];

  static override enableJsonFlag = true;

  static override flags = {
    status: Flags.boolean({ description: 'only list the versions, and whether each is applied' }),
  };

  override async run(): Promise<MigrateOutput> {
    const { flags } = await this.parse(DbMigrate);
    const config = readMigrationConfig(readEnvironment());
    const { openMigrator } = await import('../../lib/wiring.js');
    const migrator = await openMigrator(config);
    try {
      const applied = flags.status ? [] : await migrator.migrate();
      const versions = await migrator.status();
      if (flags.status) this.showVersions(versions);
      else this.showApplied(applied, versions);
      return { applied, versions };
    } finally {
      await migrator.close();
    }
  }

  private showVersions(versions: readonly Version[]): void {
    for (const { version, name, state } of versions) {
      this.log(`${state.padEnd(7)}  ${version}  ${name ?? '(not one of this program)'}`);
    }
    if (versions.some(({ state }) => state === 'pending')) process.exitCode = 1;
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
