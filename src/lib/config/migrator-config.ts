import { resolve } from 'node:path';
import { freeze, readDataDir, readWalletPath, refuseProblems } from './config.js';
import { parsePostgresUrl } from './parse-variable.js';
import { readStore, socketPathOf, type StoreConfig } from './store-config.js';
import { makeVariableReader, type Environment } from './variable-reader.js';

/** What `su bundles:seal` needs. */
export interface SealConfig {
  readonly store: StoreConfig;
  /** Absolute. */
  readonly walletPath: string;
}

/** What `su store:copy` needs. */
export interface CopyConfig {
  readonly from: StoreConfig;
  readonly to: StoreConfig;
}

const CONNECTIONS = { writeConnections: 8, readConnections: 8 };

/**
 * The configuration of `su bundles:seal`: store and wallet.
 *
 * @throws SuError `invalid-config`
 */
export function readSealConfig(env: Environment): SealConfig {
  const reader = makeVariableReader(env);
  const store = readStore(reader, readDataDir(reader), []);
  const walletPath = readWalletPath(reader, undefined);
  refuseProblems(reader, undefined);
  return freeze({ store, walletPath });
}

/**
 * The two stores of `su store:copy`. Each is named by a folder, a `postgres://` URL, or, so that no password stands on a
 * command line, by the variable that holds one of the two: `DATABASE_URL` or `SU_DATA_DIR`.
 *
 * @throws SuError `invalid-config`
 */
export function readCopyConfig(
  env: Environment,
  names: { readonly from: string; readonly to: string },
): CopyConfig {
  const reader = makeVariableReader(env);
  const place = (flag: string, name: string): StoreConfig => {
    const isVariable = name === 'DATABASE_URL' || name === 'SU_DATA_DIR';
    const text = isVariable ? (env[name]?.trim() ?? '') : name;
    if (text === '') reader.report(`${flag}: ${isVariable ? `${name} is not set` : 'is empty'}`);
    if (!/^postgres(ql)?:\/\//.test(text)) {
      const folder = resolve(text);
      return { kind: 'embedded', folder, socketPath: socketPathOf(folder) };
    }
    const parsed = parsePostgresUrl(text);
    if (!('value' in parsed)) reader.report(`${flag}: is not ${parsed.expected}`);
    return { kind: 'postgres', writerUrl: text, readerUrl: text, ...CONNECTIONS };
  };
  const config = { from: place('--from', names.from), to: place('--to', names.to) };
  if (JSON.stringify(config.from) === JSON.stringify(config.to)) {
    reader.report('--from and --to name the same store');
  }
  refuseProblems(reader, undefined);
  return freeze(config);
}
