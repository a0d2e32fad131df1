import type { StoredMessage, StoredProcess } from '../../src/lib/migrator/ports.js';
import { randomId, testWallet } from '../support/item-factory.js';
import { flipped, SignedLog } from './signed-log.js';

/** A log with one fault in its bytes, and what an audit must call it. */
export interface PlantedLog {
  readonly name: string;
  readonly process: StoredProcess;
  readonly messages: readonly StoredMessage[];
  /** Bundles to put in place of those of the rows once they are stored, by nonce. */
  readonly damage: ReadonlyMap<number, Uint8Array>;
  /** Code and nonce; several only where there is more than one thing to say. */
  readonly expected: readonly string[];
}

const LENGTH = 5;

/** One log for each fault that bytes can have, whatever store they lie in; and some that have none. */
export async function plantFaults(): Promise<readonly PlantedLog[]> {
  const logs: PlantedLog[] = [];
  const plant = async (
    name: string,
    expected: readonly string[],
    make: (log: SignedLog, damage: Map<number, Uint8Array>) => Promise<unknown>,
  ): Promise<void> => {
    const damage = new Map<number, Uint8Array>();
    const log = await SignedLog.begin();
    await log.append(LENGTH);
    await make(log, damage);
    await log.append(2);
    logs.push({ name, process: log.process, messages: log.messages, damage, expected });
  };
  await plant('nothing', [], () => Promise.resolve());
  await plant('assigned transactions', [], async (log) => {
    await log.assign(randomId());
    await log.assign(randomId(), ['data', 'a']);
  });
  await plant('bytes that are no text', [], async (log) => {
    await log.message({ item: log.itemWith(Buffer.from([0, 0xff, 0xfe, 0x61, 0])) });
  });
  await plant('a hole', ['nonce-hole 3'], async (log) => {
    log.messages.splice(2, 1);
  });
  await plant('a fork', ['nonce-duplicate 6'], async (log) => {
    const { head } = log;
    await log.message();
    await log.message({ onto: head });
  });
  await plant('a fork that went on from the first branch', ['nonce-duplicate 6'], async (log) => {
    const before = log.head;
    await log.message();
    const after = log.head;
    await log.message({ onto: before });
    log.head = after;
  });
  await plant('a wrong hash chain', ['hash-chain 6'], async (log) => {
    await log.message({ onto: { assignmentId: randomId() } });
  });
  await plant('a falling timestamp', ['timestamp-order 6'], async (log) => {
    await log.message({ onto: { timestamp: 1 }, now: 1_600_000_000_000 });
  });
  await plant('an equal timestamp', ['timestamp-order 6'], async (log) => {
    const { timestamp } = log.head;
    await log.message({ onto: { timestamp: timestamp - 1 }, now: timestamp });
  });
  await plant('a wrong message tag', ['message-tag 6'], (log) =>
    log.misnamed({ message: randomId() }),
  );
  await plant('a wrong process tag', ['process-tag 6'], (log) =>
    log.misnamed({ process: randomId() }),
  );
  await plant('a wrong target', ['message-target 6'], async (log) => {
    await log.message({ item: log.item(randomId()) });
  });
  const damages: readonly (readonly [string, string, (bundle: Uint8Array) => Uint8Array])[] = [
    ['a changed payload', 'message-signature 6', (bundle) => flipped(bundle, 1)],
    [
      'a changed signature of a message',
      'message-signature 6',
      (bundle) => flipped(bundle, itemLength(bundle) - 10),
    ],
    [
      'a changed signature of an assignment',
      'assignment-signature 6',
      (bundle) => flipped(bundle, itemLength(bundle) + assignmentLength(bundle) - 10),
    ],
    [
      'a changed tag of an assignment',
      'assignment-signature 6',
      (bundle) => flipped(bundle, itemLength(bundle) + 60),
    ],
    [
      'an announced id that is not the item’s',
      'announced-id 6',
      (bundle) => flipped(bundle, itemLength(bundle) + assignmentLength(bundle) + 1),
    ],
    ['a bundle that is cut short', 'bundle-unreadable 6', (bundle) => bundle.subarray(0, -20)],
    ['no bundle', 'bundle-missing 6', () => new Uint8Array(0)],
  ];
  for (const [name, expected, change] of damages) {
    await plant(name, [expected], async (log, damage) => {
      damage.set(6, change((await log.message()).bundle));
    });
  }
  const other = await testWallet('other-scheduler');
  await plant('another wallet', ['owner-change 6', 'owner-change 7'], async (log) => {
    await log.message({ wallet: other });
  });
  const unassigned = await SignedLog.begin(false);
  await unassigned.append(3);
  const { process, messages } = unassigned;
  const damage = new Map<number, Uint8Array>();
  logs.push({ name: 'a process without an assignment', process, messages, damage, expected: [] });
  return logs;
}

/** The content's offset in a wrapper without target: the head of an arweave item with an anchor and the two bundle tags. */
function contentOf(bundle: Uint8Array): Buffer {
  const all = Buffer.from(bundle);
  const tagsAt = 2 + 512 + 512 + 1 + 33;
  const tagBytes = Number(all.readBigUInt64LE(tagsAt + 8));
  return all.subarray(tagsAt + 16 + tagBytes);
}

function assignmentLength(bundle: Uint8Array): number {
  return contentOf(bundle).readUInt32LE(32);
}

function itemLength(bundle: Uint8Array): number {
  return contentOf(bundle).readUInt32LE(96);
}
