import { randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';
import { signatureMessageSync } from '../../src/lib/protocol/deep-hash.js';
import { encodeDataItem, encodeUnsigned, parseDataItem } from '../../src/lib/protocol/data-item.js';
import { idToBytes, type Id } from '../../src/lib/protocol/ids.js';
import type { SignatureType } from '../../src/lib/protocol/signature-types.js';
import type { Tag } from '../../src/lib/protocol/tags.js';
import { oracleItem, oracleSigner } from '../protocol/oracle-signers.js';
import { testWallet } from '../support/test-wallet.js';

/** How many items are signed at once: enough for every thread, and items of any size fit into memory. */
const AT_ONCE = 32;

const PROTOCOL_TAGS: readonly Tag[] = [
  { name: 'Data-Protocol', value: 'ao' },
  { name: 'Variant', value: 'ao.TN.1' },
];

const MESSAGE_TAGS: readonly Tag[] = [
  ...PROTOCOL_TAGS,
  { name: 'Type', value: 'Message' },
  { name: 'Action', value: 'Transfer' },
  { name: 'Quantity', value: '1000000000000' },
];

/** A signed type 1 item, as aoconnect sends them. */
async function signItem(tags: readonly Tag[], data: Uint8Array, target?: Id): Promise<Uint8Array> {
  const wallet = await testWallet('user');
  const parts = {
    signatureType: 1,
    owner: wallet.owner,
    target: target === undefined ? undefined : idToBytes(target),
    anchor: randomBytes(32),
    tags,
  } as const;
  const unsigned = parseDataItem(encodeUnsigned(parts, data), 'posted');
  return encodeDataItem(
    { ...parts, signature: await wallet.sign(signatureMessageSync(unsigned)) },
    data,
  );
}

async function signMessage(type: SignatureType, data: Uint8Array, target: Id): Promise<Uint8Array> {
  if (type === 1) return signItem(MESSAGE_TAGS, data, target);
  return oracleItem(await oracleSigner(type), data, {
    target,
    anchor: randomBytes(16).toString('hex'),
    tags: MESSAGE_TAGS.map((tag) => ({ ...tag })),
  });
}

/** Writes signed processes, each behind its length (u32le); returns their ids. */
export async function presignProcesses(file: string, count: number): Promise<readonly Id[]> {
  const anyId = randomBytes(32).toString('base64url');
  const tags = [
    ...PROTOCOL_TAGS,
    { name: 'Type', value: 'Process' },
    { name: 'Module', value: anyId },
    { name: 'Scheduler', value: anyId },
  ];
  const ids: Id[] = [];
  await writeItems(file, count, async () => {
    const bytes = await signItem(tags, Buffer.from('1984'));
    ids.push(parseDataItem(bytes, 'posted').id);
    return bytes;
  });
  return ids;
}

export interface MessagePlan {
  /** The messages go to them in turn. */
  readonly processes: readonly Id[];
  readonly count: number;
  readonly dataBytes: number;
  /** Signature types, in turn. */
  readonly types: readonly SignatureType[];
}

/** Writes signed messages, each behind its length (u32le). */
export async function presignMessages(file: string, plan: MessagePlan): Promise<void> {
  const { processes, count, dataBytes, types } = plan;
  await writeItems(file, count, (index) => {
    const target = processes[index % processes.length];
    if (target === undefined) throw new Error('messages need a process');
    const data = Buffer.from(randomBytes(Math.ceil(dataBytes / 2)).toString('hex'));
    return signMessage(types[index % types.length] ?? 1, data.subarray(0, dataBytes), target);
  });
}

async function writeItems(
  file: string,
  count: number,
  make: (index: number) => Promise<Uint8Array>,
): Promise<void> {
  const handle = await open(file, 'w');
  try {
    for (let at = 0; at < count; at += AT_ONCE) {
      const group = Array.from({ length: Math.min(AT_ONCE, count - at) }, (_, i) => make(at + i));
      for (const item of await Promise.all(group)) {
        const length = Buffer.alloc(4);
        length.writeUInt32LE(item.length);
        await handle.write(length);
        await handle.write(item);
      }
    }
  } finally {
    await handle.close();
  }
}
