import { randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { signatureMessageSync } from '../../src/lib/protocol/deep-hash.js';
import { encodeDataItem, encodeUnsigned, parseDataItem } from '../../src/lib/protocol/data-item.js';
import { idToBytes, type Id } from '../../src/lib/protocol/ids.js';
import type { Tag } from '../../src/lib/protocol/tags.js';
import { testWallet } from '../support/test-wallet.js';

/** Signed items in a file that the load generator reads: each behind its length (u32le). */
export interface PresignedFile {
  readonly file: string;
  readonly count: number;
}

const PROTOCOL_TAGS: readonly Tag[] = [
  { name: 'Data-Protocol', value: 'ao' },
  { name: 'Variant', value: 'ao.TN.1' },
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

/** Signed processes, with their ids. */
export async function presignProcesses(
  folder: string,
  count: number,
): Promise<PresignedFile & { readonly ids: readonly Id[] }> {
  const anyId = randomBytes(32).toString('base64url');
  const tags = [
    ...PROTOCOL_TAGS,
    { name: 'Type', value: 'Process' },
    { name: 'Module', value: anyId },
    { name: 'Scheduler', value: anyId },
  ];
  const items = await Promise.all(
    Array.from({ length: count }, () => signItem(tags, Buffer.from('1984'))),
  );
  const ids = items.map((bytes) => parseDataItem(bytes, 'posted').id);
  return { ...(await writeItems(join(folder, `processes-${count}.bin`), items)), ids };
}

/** Signed messages that go to the processes in turn; `bytes` is the size of a whole item. */
export async function presignMessages(
  folder: string,
  options: { readonly processes: readonly Id[]; readonly count: number; readonly bytes: number },
): Promise<PresignedFile> {
  const { processes, count, bytes } = options;
  const tags = [
    ...PROTOCOL_TAGS,
    { name: 'Type', value: 'Message' },
    { name: 'Action', value: 'Transfer' },
    { name: 'Quantity', value: '1000000000000' },
  ];
  const around = 1240;
  const items: Uint8Array[] = [];
  for (let at = 0; at < count; at += 64) {
    const part = Array.from({ length: Math.min(64, count - at) }, (_, i) => {
      const data = randomBytes(Math.max(1, Math.ceil((bytes - around) / 2))).toString('hex');
      return signItem(tags, Buffer.from(data), processes[(at + i) % processes.length]);
    });
    items.push(...(await Promise.all(part)));
  }
  const name = `messages-${processes.length}-${count}-${bytes}-${randomBytes(4).toString('hex')}.bin`;
  return writeItems(join(folder, name), items);
}

async function writeItems(file: string, items: readonly Uint8Array[]): Promise<PresignedFile> {
  const handle = await open(file, 'w');
  try {
    for (const item of items) {
      const length = Buffer.alloc(4);
      length.writeUInt32LE(item.length);
      await handle.write(length);
      await handle.write(item);
    }
  } finally {
    await handle.close();
  }
  return { file, count: items.length };
}
