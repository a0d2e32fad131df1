import { draftAssignment, sealAssignment, type AssignmentDraft } from '../protocol/assignment.js';
import {
  bundleSignatureMessage,
  encodeBundle,
  processWrapperTags,
  sealBundle,
} from '../protocol/bundle.js';
import type { DataItem } from '../protocol/data-item.js';
import { firstLink, nextLink } from '../protocol/hash-chain.js';
import type { Id } from '../protocol/ids.js';
import { invariant } from '../errors.js';
import {
  UPLOAD_ASSIGNMENT,
  UPLOAD_BUNDLE,
  UPLOAD_ITEM,
  type DeepHashes,
  type Head,
  type NewEntry,
  type ReceiptQuery,
} from './ports.js';

/** What a client asks to be given a place in a log. */
export type Job =
  | {
      readonly kind: 'process';
      readonly processId: Id;
      readonly item: DataItem;
      /** Whether the process itself takes nonce 0. */
      readonly withAssignment: boolean;
      readonly identity: ReceiptQuery;
    }
  | {
      readonly kind: 'message';
      readonly processId: Id;
      readonly item: DataItem;
      readonly identity: ReceiptQuery;
      readonly deepHashes?: DeepHashes | undefined;
    }
  | {
      readonly kind: 'assigned-transaction';
      readonly processId: Id;
      readonly transactionId: Id;
      /** Values of the `Exclude` tags. */
      readonly exclude: readonly string[];
      readonly identity: ReceiptQuery;
      readonly deepHashes?: DeepHashes | undefined;
    };

/** Of all jobs only an assign needs no signature of whoever asks for it. */
export function isAssign(job: Job): boolean {
  return job.kind === 'assigned-transaction';
}

/** What an entry takes from the world at the moment it is made. */
export interface Moment {
  /** Wall clock, ms. */
  readonly now: number;
  readonly blockHeight: number;
  /** The SU's RSA modulus, 512 bytes. */
  readonly owner: Uint8Array;
  /** Fresh random bytes. */
  readonly random: (length: number) => Uint8Array;
  /** One signature of the SU's wallet. */
  readonly sign: (message: Uint8Array) => Promise<Uint8Array>;
}

/**
 * The next entry of a chain: places the job after `head`, signs its assignment and wraps both.
 *
 * @param head what the entry continues; undefined only for a process, which begins its own chain.
 * @throws SuError `invalid-request` when the assignment would exceed the tag limits (an `exclude` list that is too long).
 */
export async function signEntry(
  job: Job,
  head: Head | undefined,
  moment: Moment,
): Promise<NewEntry> {
  if (job.kind === 'process' && !job.withAssignment) return signBareProcess(job, moment);
  const placed = place(job, head, moment);
  const assignment = sealAssignment(placed.draft, await moment.sign(placed.draft.signatureMessage));
  const next: Head = { ...placed.next, assignmentId: assignment.id };
  return job.kind === 'assigned-transaction'
    ? wrapTransaction(job, { assignment, next }, moment)
    : wrapItem(job, { assignment, next }, moment);
}

interface Placed {
  readonly draft: AssignmentDraft;
  readonly next: Omit<Head, 'assignmentId'>;
}

function place(job: Job, head: Head | undefined, moment: Moment): Placed {
  invariant(
    (head === undefined) === (job.kind === 'process'),
    'only a process begins a chain, and only at its beginning',
    { processId: job.processId, kind: job.kind },
  );
  const next = {
    epoch: head?.epoch ?? 0,
    nonce: (head?.nonce ?? -1) + 1,
    timestamp: Math.max(moment.now, (head?.timestamp ?? 0) + 1),
    blockHeight: Math.max(moment.blockHeight, head?.blockHeight ?? 0),
    hashChain: linkAfter(job.processId, head),
  };
  const draft = draftAssignment({
    owner: moment.owner,
    processId: job.processId,
    ...next,
    messageId:
      job.kind === 'message'
        ? job.item.id
        : job.kind === 'assigned-transaction'
          ? job.transactionId
          : undefined,
    exclude: job.kind === 'assigned-transaction' ? job.exclude : [],
    anchor: moment.random(32),
  });
  return { draft, next };
}

function linkAfter(processId: Id, head: Head | undefined): string {
  if (head === undefined || head.nonce < 0) return firstLink(processId);
  invariant(
    head.assignmentId !== undefined && head.hashChain !== undefined,
    'a head with a nonce has an assignment and a hash chain',
    { processId, nonce: head.nonce },
  );
  return nextLink(head.assignmentId, head.hashChain);
}

interface Signed {
  readonly assignment: DataItem;
  readonly next: Head;
}

/** Item and assignment are published one by one, the wrapper never: it keeps an empty signature. */
function wrapItem(
  job: Extract<Job, { item: DataItem }>,
  { assignment, next }: Signed,
  moment: Moment,
): NewEntry {
  return {
    kind: job.kind,
    processId: job.processId,
    messageId: job.item.id,
    item: job.item,
    assignment,
    head: next,
    bundle: encodeBundle({
      owner: moment.owner,
      anchor: moment.random(32),
      items: [assignment, job.item],
    }),
    uploads: UPLOAD_ITEM | UPLOAD_ASSIGNMENT,
    identity: job.identity,
    deepHashes: job.kind === 'message' ? job.deepHashes : undefined,
  };
}

/** The wrapper is what is published: it is signed once, here, so that every try uploads the same id. */
async function wrapTransaction(
  job: Extract<Job, { kind: 'assigned-transaction' }>,
  { assignment, next }: Signed,
  moment: Moment,
): Promise<NewEntry> {
  const wrapper = encodeBundle({
    owner: moment.owner,
    anchor: moment.random(32),
    items: [assignment],
  });
  return {
    kind: 'assigned-transaction',
    processId: job.processId,
    messageId: job.transactionId,
    item: undefined,
    assignment,
    head: next,
    bundle: await seal(wrapper, moment),
    uploads: UPLOAD_BUNDLE,
    identity: withAttempt(job.identity, assignment.id, next.timestamp),
    deepHashes: job.deepHashes,
  };
}

/**
 * How the entry of a posting is found again: one that only its own assignments identify by one more of them, another one from
 * its timestamp on, which lies before the window when the clock was set back meanwhile.
 */
function withAttempt(identity: ReceiptQuery, assignmentId: Id, timestamp: number): ReceiptQuery {
  if (identity.kind !== 'assign') return identity;
  const { attempts, since } = identity;
  return attempts === undefined
    ? { ...identity, since: Math.min(since, timestamp) }
    : { ...identity, attempts: [...attempts, assignmentId] };
}

async function signBareProcess(
  job: Extract<Job, { kind: 'process' }>,
  moment: Moment,
): Promise<NewEntry> {
  const head: Head = {
    epoch: 0,
    nonce: -1,
    timestamp: moment.now,
    blockHeight: moment.blockHeight,
    hashChain: undefined,
    assignmentId: undefined,
  };
  const wrapper = encodeBundle({
    owner: moment.owner,
    anchor: moment.random(32),
    tags: processWrapperTags(head.blockHeight, head.timestamp),
    items: [job.item],
  });
  return {
    kind: 'process',
    processId: job.processId,
    messageId: job.processId,
    item: job.item,
    assignment: undefined,
    head,
    bundle: await seal(wrapper, moment),
    uploads: UPLOAD_BUNDLE,
    identity: job.identity,
  };
}

async function seal(wrapper: Uint8Array, moment: Moment): Promise<Uint8Array> {
  return sealBundle(wrapper, await moment.sign(await bundleSignatureMessage(wrapper)));
}
