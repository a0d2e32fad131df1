import { Flags } from '@oclif/core';
import { BaseCommand, exitStatusHelp } from '../../lib/cli/base-command.js';
import { readWalletConfig } from '../../lib/config/config.js';
import { readEnvironment } from '../../lib/config/env.js';

interface WalletInfo {
  readonly address: string;
  readonly keyBits: number;
  readonly file: string;
}

/** `su wallet:info`: which address this SU signs with. */
export default class WalletInfoCommand extends BaseCommand {
  static override summary = 'Show the address, key size and file of the wallet; never the key.';

  static override description = [
    'Reads SU_WALLET_PATH. What is not an RSA-4096 private JWK is refused, saying what it is.',
    exitStatusHelp(0, 2, 70),
  ].join('\n\n');

  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --json',
    {
      description: 'The wallet that serve --local made',
      command: '<%= config.bin %> <%= command.id %> --local',
    },
  ];

  static override enableJsonFlag = true;

  static override flags = {
    local: Flags.boolean({
      description: 'the wallet of serve --local, in SU_DATA_DIR, when SU_WALLET_PATH is not set',
    }),
  };

  override async run(): Promise<WalletInfo> {
    const { flags } = await this.parse(WalletInfoCommand);
    const { walletPath } = readWalletConfig(readEnvironment(), flags);
    const { describeWallet } = await import('../../lib/wiring.js');
    const info = await describeWallet(walletPath);
    this.log(`address   ${info.address}`);
    this.log(`key       RSA, ${info.keyBits} bits`);
    this.log(`file      ${info.file}`);
    return info;
  }
}
