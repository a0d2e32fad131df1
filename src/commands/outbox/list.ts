import { Flags } from '@oclif/core';
import { BaseCommand, exitStatusHelp } from '../../lib/cli/base-command.js';
import { listingLine } from '../../lib/cli/outbox-lines.js';
import { readOperatorConfig } from '../../lib/config/config.js';
import { readEnvironment } from '../../lib/config/env.js';

interface ListOutput {
  readonly pending: number;
  readonly parked: number;
  readonly rows: readonly object[];
}

/** Rows are asked for in pieces, so that a long queue is not read at once. */
const ROWS_A_PIECE = 500;

/** `su outbox:list`: what is still to be published. */
export default class OutboxList extends BaseCommand {
  static override summary = 'List what is scheduled and not yet published.';

  static override description = [
    'A pending upload is tried until the bundler takes it. A parked one was refused for its content, and waits for outbox:retry.',
    'Works beside a running server. The store is that of su serve: DATABASE_URL, else SU_DATA_DIR.',
    exitStatusHelp(0, 2, 70),
  ].join('\n\n');

  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --state parked --json',
  ];

  static override enableJsonFlag = true;

  static override flags = {
    state: Flags.option({
      options: ['pending', 'parked', 'all'] as const,
      default: 'all',
      description: 'only the rows in this state',
    })(),
    limit: Flags.integer({ default: 100, min: 1, max: 1_000_000, description: 'rows at most' }),
  };

  override async run(): Promise<ListOutput> {
    const { flags } = await this.parse(OutboxList);
    const config = readOperatorConfig(readEnvironment());
    const { openOperator } = await import('../../lib/wiring.js');
    const operator = await openOperator(config);
    try {
      const rows: object[] = [];
      let afterKey: string | undefined;
      while (rows.length < flags.limit) {
        const limit = Math.min(ROWS_A_PIECE, flags.limit - rows.length);
        const piece = await operator.outbox.list({ state: flags.state, afterKey, limit });
        for (const row of piece) this.log(listingLine(row));
        rows.push(...piece);
        afterKey = piece.at(-1)?.key;
        if (piece.length < limit) break;
      }
      const { pending, parked } = await operator.outbox.counts();
      this.log(
        `${pending} pending, ${parked} parked${rows.length === 0 ? '' : `; ${rows.length} listed`}`,
      );
      return { pending, parked, rows };
    } finally {
      await operator.close();
    }
  }
}
