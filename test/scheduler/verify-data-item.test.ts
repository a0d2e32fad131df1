import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { SuError } from '../../src/lib/errors.js';
import { verifyPostedItem } from '../../src/lib/scheduler/verify-data-item.js';
import type { Tag } from '../../src/lib/protocol/tags.js';
import { quickItem, quickProcess, quickWallet } from '../support/signed-items.js';

const wallet = quickWallet();
const target = quickProcess(wallet).id;

const MESSAGE: readonly Tag[] = [
  { name: 'Data-Protocol', value: 'ao' },
  { name: 'Type', value: 'Message' },
];
const PROCESS: readonly Tag[] = [
  { name: 'Data-Protocol', value: 'ao' },
  { name: 'Type', value: 'Process' },
  { name: 'Module', value: target },
  { name: 'Scheduler', value: target },
];

const without = (tags: readonly Tag[], name: string): readonly Tag[] =>
  tags.filter((tag) => tag.name !== name);

function signed(tags: readonly Tag[], to?: typeof target): Uint8Array {
  const item = { tags, data: Buffer.from('hello') };
  return quickItem(wallet, to === undefined ? item : { ...item, target: to }).bytes;
}

async function sentenceOf(bytes: Uint8Array): Promise<string> {
  try {
    await verifyPostedItem(bytes);
    return 'accepted';
  } catch (error) {
    if (!(error instanceof SuError)) throw error;
    return `${error.code}: ${error.message}`;
  }
}

describe('the rules for a posted item', () => {
  it('takes a message for the process in its target', async () => {
    const verified = await verifyPostedItem(signed(MESSAGE, target));
    expect(verified).to.include({ kind: 'message', processId: target });
  });

  it('takes a process, which is its own log', async () => {
    const verified = await verifyPostedItem(signed(PROCESS));
    expect(verified.kind).to.equal('process');
    expect(verified.processId).to.equal(verified.item.id);
  });

  it('does not compare the Scheduler tag with its own address', async () => {
    const tags = [...without(PROCESS, 'Scheduler'), { name: 'Scheduler', value: 'anybody' }];
    expect(await sentenceOf(signed(tags))).to.equal('accepted');
  });

  it('reads type and data-protocol in lower case too', async () => {
    const tags = MESSAGE.map(({ name, value }) => ({ name: name.toLowerCase(), value }));
    expect(await sentenceOf(signed(tags, target))).to.equal('accepted');
  });

  it('lets the first of Type and type decide', async () => {
    const tags = [{ name: 'type', value: 'Message' }, ...PROCESS];
    expect((await verifyPostedItem(signed(tags, target))).kind).to.equal('message');
  });

  const boot = (value: string): readonly Tag[] => [...PROCESS, { name: 'On-Boot', value }];
  for (const [what, bytes, sentence] of [
    ['no Type', signed(without(MESSAGE, 'Type'), target), 'the item has no Type tag'],
    [
      'another Type',
      signed([...without(MESSAGE, 'Type'), { name: 'Type', value: 'Module' }], target),
      'its Type tag is "Module": expected Process or Message',
    ],
    [
      'no Data-Protocol',
      signed(without(MESSAGE, 'Data-Protocol'), target),
      'the item has no Data-Protocol tag',
    ],
    ['a name in +link', signed([...MESSAGE, { name: 'x+link', value: 'y' }], target), '+link'],
    ['a value in +link', signed([...MESSAGE, { name: 'x', value: 'y+link' }], target), '+link'],
    ['a message without target', signed(MESSAGE), 'a message needs a target'],
    ['a process without Module', signed(without(PROCESS, 'Module')), 'needs a Module tag'],
    ['a process without Scheduler', signed(without(PROCESS, 'Scheduler')), 'needs a Scheduler tag'],
    ['an On-Boot that is no id', signed(boot('Nothing')), 'its On-Boot tag is "Nothing"'],
  ] as const) {
    it(`refuses ${what} with a sentence`, async () => {
      const refusal = await sentenceOf(bytes);
      expect(refusal).to.match(/^invalid-request: the data item is refused: /);
      expect(refusal).to.include(sentence);
    });
  }

  it('passes the On-Boot id on, and takes the word Data for what it is', async () => {
    const id = await verifyPostedItem(signed(boot(target)));
    expect(id).to.include({ kind: 'process', onBoot: target });
    expect(await verifyPostedItem(signed(boot('Data')))).to.include({ onBoot: undefined });
  });

  it('bounds what it quotes of an item', async () => {
    const tags = [...without(MESSAGE, 'Type'), { name: 'Type', value: 'x'.repeat(3000) }];
    expect((await sentenceOf(signed(tags, target))).length).to.be.lessThan(200);
  });

  it('checks the signature last', async () => {
    const bytes = Buffer.from(
      readFileSync(new URL('../vectors/items/bad-flipped-data.bin', import.meta.url)),
    );
    expect(await sentenceOf(bytes)).to.match(/^invalid-signature: the signature of data item /);
  });
});
