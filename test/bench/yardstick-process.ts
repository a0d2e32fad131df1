import { randomBytes } from 'node:crypto';
import { openBareSigner } from './bare-signer.js';

/*
 * A program of its own: what this machine's Node does without us. Its parent sends one Question at a time and gets one
 * number. Argument: wallet file.
 */
export type Question =
  /** RSA-4096 signatures a second with so many under way at once. */
  | { readonly kind: 'sign'; readonly atOnce: number; readonly durationMs: number }
  /** Milliseconds of one verification of such a signature. */
  | { readonly kind: 'verify'; readonly times: number };

const signer = openBareSigner(process.argv[2] ?? '');

async function signRate(atOnce: number, durationMs: number): Promise<number> {
  await signer.sign(randomBytes(48));
  let signatures = 0;
  const begun = performance.now();
  const lane = async (): Promise<void> => {
    while (performance.now() < begun + durationMs) {
      await signer.sign(randomBytes(48));
      signatures += 1;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  return (signatures * 1000) / (performance.now() - begun);
}

async function verifyMs(times: number): Promise<number> {
  const message = randomBytes(48);
  const signature = await signer.sign(message);
  const begun = performance.now();
  for (let i = 0; i < times; i += 1) {
    if (!(await signer.verify(message, signature))) {
      throw new Error('a signature that was just made does not verify');
    }
  }
  return (performance.now() - begun) / times;
}

function answer(question: Question): Promise<number> {
  return question.kind === 'sign'
    ? signRate(question.atOnce, question.durationMs)
    : verifyMs(question.times);
}

process.on('message', (question: Question) => {
  answer(question).then(
    (value) => process.send?.(value),
    (error: unknown) => {
      throw error;
    },
  );
});
process.on('disconnect', () => process.exit(0));
