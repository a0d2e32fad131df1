import { Args, Flags } from '@oclif/core';
import { abortOnSignal } from '../lib/cli/abort-on-signal.js';
import { findingLine, summaryLines } from '../lib/cli/audit-lines.js';
import { BaseCommand, exitStatusHelp } from '../lib/cli/base-command.js';
import { checkpointFile } from '../lib/cli/checkpoint-file.js';
import { openProgress } from '../lib/cli/progress.js';
import { parseSince } from '../lib/cli/since.js';
import { writeLine } from '../lib/cli/write-line.js';
import { readOperatorConfig } from '../lib/config/config.js';
import { readEnvironment } from '../lib/config/env.js';

/** `su verify`: audits logs, in the store or over HTTP. */
export default class Verify extends BaseCommand {
  static override summary = 'Audit logs: places, hash chain, timestamps, signatures, stored bytes.';

  static override description = [
    'Checks every entry of the named processes, or of all: nonces (holes, duplicates), hash chain, timestamps, signatures of assignments and messages, ids, tags, and in a store also columns and JSON against the stored bytes. Nothing is changed.',
    'The store is that of su serve: DATABASE_URL, else SU_DATA_DIR; beside a running server it is read through that server. With --url any Scheduler Unit is asked, the reference implementation included; what its JSON does not carry whole is counted as not verifiable.',
    'One line a finding: its severity, a stable code, process and nonce, what was expected and what was found. With --json one JSON object a line: {"type":"finding",…} as they are made, at the end {"type":"summary",…}. Warnings and information are no faults.',
    'With --checkpoint an audit that was interrupted goes on where it was, with the same command; findings of the last moments may then be shown a second time. The file is removed at the end.',
    exitStatusHelp(0, 1, 2, 70, 130),
  ].join('\n\n');

  static override examples = [
    { description: 'The whole store', command: '<%= config.bin %> <%= command.id %>' },
    {
      description: 'What the last day brought, places and hash chain only',
      command: '<%= config.bin %> <%= command.id %> --since 24h --no-signatures',
    },
    {
      description: 'One process of another Scheduler Unit',
      command:
        '<%= config.bin %> <%= command.id %> wC0al1zvON-2G7Alr2L7cYPU1dGFINkoS0Ac8sm878o --url https://su.example',
    },
  ];

  /** JSON lines are written as they come; oclif's part is the JSON of a failure. */
  static override enableJsonFlag = true;
  /** Any number of processes. */
  static override strict = false;

  static override args = {
    process: Args.string({
      name: 'PROCESS',
      description: 'ids of processes (default: all; with --url at least one)',
      ignoreStdin: true,
    }),
  };

  static override flags = {
    store: Flags.boolean({
      description: 'read the configured store (the default)',
      exclusive: ['url'],
    }),
    url: Flags.string({
      description: 'ask the Scheduler Unit at this address',
      helpValue: 'URL',
    }),
    since: Flags.string({
      description:
        'only entries from then on: a date, a timestamp in milliseconds, or how long ago (24h, 7d)',
      helpValue: 'TIME',
    }),
    signatures: Flags.boolean({
      description: 'verify signatures, nearly all of the work; --no-signatures for a quick look',
      default: true,
      allowNo: true,
    }),
    checkpoint: Flags.string({
      description: 'keep the place in this file, and go on from it when it exists',
      helpValue: 'FILE',
    }),
  };

  override async run(): Promise<void> {
    const { flags, argv } = await this.parse(Verify);
    const processes = argv.map(String);
    const { url } = flags;
    if (url !== undefined && processes.length === 0) {
      this.error('--url needs the ids of processes: no Scheduler Unit tells which it has', {
        exit: 2,
      });
    }
    if (url !== undefined && !/^https?:\/\/[^/]/.test(url)) {
      this.error('--url must begin with http:// or https://', { exit: 2 });
    }
    const since = flags.since === undefined ? undefined : parseSince(flags.since, Date.now());
    const config = url === undefined ? readOperatorConfig(readEnvironment()) : undefined;
    const { openAudit } = await import('../lib/wiring.js');
    const audit = await openAudit(
      config === undefined ? { kind: 'url', url: url ?? '' } : { kind: 'store', config },
    );
    const progress = openProgress({ name: 'verify', unit: 'processes' });
    const stop = abortOnSignal(() => {
      this.logToStderr('stopping after the pieces under way; once more stops at once');
    });
    const startedAt = performance.now();
    /** Entries that an earlier run has checked. */
    let entriesBefore: number | undefined;
    try {
      const summary = await audit.run({
        processes,
        since,
        sinceAsGiven: flags.since,
        signatures: flags.signatures,
        signal: stop.signal,
        checkpoint: flags.checkpoint === undefined ? undefined : checkpointFile(flags.checkpoint),
        report: (finding) =>
          progress.around(() =>
            writeLine(
              this.jsonEnabled()
                ? JSON.stringify({ type: 'finding', ...finding })
                : findingLine(finding),
            ),
          ),
        onProgress: (counts) => {
          const { processes: done, processesTotal, entries, codes } = counts;
          entriesBefore ??= flags.checkpoint === undefined ? 0 : entries;
          const seconds = (performance.now() - startedAt) / 1000;
          const rate = Math.round((entries - entriesBefore) / seconds);
          const found = Object.values(codes).reduce((sum, count) => sum + count, 0);
          progress.update(done, processesTotal, `${entries} entries, ${rate}/s, ${found} findings`);
        },
      });
      progress.stop();
      const durationMs = Math.round(performance.now() - startedAt);
      if (this.jsonEnabled()) {
        await writeLine(JSON.stringify({ type: 'summary', ...summary, durationMs }));
      } else {
        for (const line of summaryLines(summary, durationMs)) await writeLine(line);
      }
      if (summary.severities.fault > 0) process.exitCode = 1;
    } finally {
      progress.stop();
      stop.release();
      await audit.close();
    }
  }

  /** The lines are all there is; only the JSON of a failure comes this way. */
  override logJson(json: unknown): void {
    if (json !== undefined) process.stdout.write(`${JSON.stringify(json)}\n`);
  }

  protected override toSuccessJson(): undefined {
    return undefined;
  }
}
