import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SIGNATURE_TYPES, type SignatureType } from '../../../src/lib/protocol/signature-types.js';
import { STORES, type BenchCase } from '../bench-case.js';
import type { MessageKind } from '../items.js';
import { startBareKoa } from '../programs.js';
import { runWriteRound, writeFigures, type WriteRound } from '../write-round.js';

interface Size {
  readonly name: string;
  readonly dataBytes: number;
  readonly clients: number;
  /** Items a round; undefined: as many as fit into its time. */
  readonly count?: { readonly quick: number; readonly full: number };
}

const KB = 1024;
const SIZES: readonly Size[] = [
  { name: '1 KB', dataBytes: KB, clients: 32 },
  { name: '100 KB', dataBytes: 100 * KB, clients: 32, count: { quick: 100, full: 800 } },
  { name: '5 MB', dataBytes: 5 * KB * KB, clients: 8, count: { quick: 8, full: 40 } },
];

/** The same items posted to a server that reads them and does nothing else. */
function ofSize({ name, dataBytes, clients, count }: Size): BenchCase {
  return {
    name: `items: ${name}`,
    stores: STORES,
    comparedWith: 'bare koa that reads the same items and keeps nothing',
    goals: {},
    isQuick: count !== undefined,
    run: async (bench) => {
      const target = await bench.shared();
      const kind: MessageKind = { to: 'many', dataBytes, types: [1] };
      const pool = await bench.items.messages(kind);
      const file = join(bench.folder, 'receipt.json');
      await writeFile(file, '{}');
      const bare = await startBareKoa(file, bench.options.node);
      const rounds: WriteRound[] = [];
      const ofBare: number[] = [];
      try {
        for (let round = 0; round < bench.rounds; round += 1) {
          const limit = bench.isQuick ? count?.quick : count?.full;
          const written = await runWriteRound(bench, target, {
            items: pool,
            clients,
            against: 'all',
            itemBytes: dataBytes,
            ...(limit === undefined ? {} : { count: limit }),
          });
          rounds.push(written);
          const slice = await pool.take(limit ?? 200);
          const plain = await bench.programs.load.run({ url: bare.url, ...slice, clients });
          pool.used(slice.from);
          ofBare.push(written.messagesPerSecond / ((plain.acknowledged * 1000) / plain.elapsedMs));
        }
      } finally {
        bare.close();
      }
      return {
        ...writeFigures(rounds),
        'of what bare koa reads': ofBare,
        'MB a second': rounds.map(({ bytesPerSecond }) => bytesPerSecond / 1e6),
      };
    },
  };
}

const TYPES = Object.keys(SIGNATURE_TYPES).map(Number) as SignatureType[];

function ofTypes(name: string, types: readonly SignatureType[], isQuick: boolean): BenchCase {
  return {
    name: `signature types: ${name}`,
    stores: STORES,
    comparedWith: 'crypto.sign of RSA-4096 on all cores, in the same minute',
    goals: {},
    isQuick,
    run: async (bench) => {
      const target = await bench.shared();
      const items = await bench.items.messages({ to: 'many', dataBytes: 260, types });
      // One type alone is a detail, and there are seven.
      const durationMs = types.length === 1 ? bench.shortMs / 2 : bench.shortMs;
      const rounds: WriteRound[] = [];
      for (let round = 0; round < bench.rounds; round += 1) {
        rounds.push(
          await runWriteRound(bench, target, { items, clients: 32, against: 'all', durationMs }),
        );
      }
      return writeFigures(rounds);
    },
  };
}

/** Messages of all sizes. */
export const SIZE_CASES: readonly BenchCase[] = SIZES.map(ofSize);

/** Messages of all signature types. */
export const TYPE_CASES: readonly BenchCase[] = [
  ofTypes('all seven in turn', TYPES, true),
  ...TYPES.map((type) => ofTypes(`${type} ${SIGNATURE_TYPES[type].name}`, [type], false)),
];
