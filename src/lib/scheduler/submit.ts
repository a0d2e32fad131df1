import { isSuError, SuError, type ErrorCode } from '../errors.js';
import { splitExclude } from '../protocol/assignment.js';
import { ownerAddress } from '../protocol/data-item.js';
import { isId, parseId, type Id } from '../protocol/ids.js';
import { findTag } from '../protocol/tags.js';
import type { Job } from './entry.js';
import type { Guards } from './guards.js';
import type { Lanes } from './lanes.js';
import type { Receipt, ReceiptQuery } from './ports.js';
import type { Prepare } from './prepare.js';
import type { Placement } from './process-lane.js';
import { verifyPostedItem, type VerifiedItem } from './verify-data-item.js';

/*
 * THE write path, top to bottom:
 *
 *   body ─▶ parse ─▶ verify ─▶ guards ─▶ seen before? ─▶ prepare ─▶ lane of its process ─▶ committer ─▶ receipt
 *
 * Whatever fails before the committer leaves nothing behind. A second posting of the same thing gets the first one's
 * receipt: while the first is under way by waiting for it, errors included; afterwards from the store.
 */

/** What became of a posting: its receipt, and what the log line says about it. */
export interface Submission extends Receipt {
  readonly kind: Job['kind'];
  readonly processId: Id;
  readonly nonce: number | undefined;
  readonly repeated: boolean;
}

/** `POST /?process-id=…&assign=…` as it came. */
export interface AssignQuery {
  readonly processId: string;
  readonly assign: string;
  readonly baseLayer: boolean;
  readonly exclude: string | undefined;
}

export interface Submit {
  /**
   * Schedules a posted data item.
   * @throws SuError of the families input, not-found, busy and unavailable
   */
  submitItem(body: Uint8Array): Promise<Submission>;
  /** Schedules an existing transaction onto a process. Throws as `submitItem` does. */
  submitAssign(query: AssignQuery): Promise<Submission>;
}

export interface SubmitOptions {
  readonly lanes: Pick<Lanes, 'enter'>;
  readonly prepare: Prepare;
  readonly guards: Guards;
  readonly findReceipt: (query: ReceiptQuery) => Promise<Receipt | undefined>;
  /** @throws SuError `not-ready` or `height-unavailable` while writes are not possible */
  readonly checkReady: () => void;
  /** Wall clock, ms. */
  readonly now: () => number;
  readonly processAssignment: boolean;
  /** How long a repeated assign counts as the same, ms; 0: never. */
  readonly assignRetryWindowMs: number;
}

/** See the flow above. */
export function makeSubmit(options: SubmitOptions): Submit {
  const { checkReady, guards } = options;
  const once = makeOnce<Placement>();
  const placeTransaction = makePlaceTransaction(options);

  return {
    async submitItem(body) {
      checkReady();
      const verified = await verifyPostedItem(body);
      const { kind, processId, item } = verified;
      checkAllowed(verified, guards);
      const placement = await once(item.id, () => placeItem(verified, options));
      return { ...placement, id: item.id, kind, processId };
    },

    async submitAssign(query) {
      checkReady();
      const processId = parseKnowable(query.processId, 'process-id', 'unknown-process');
      const transactionId = parseKnowable(query.assign, 'assign', 'unknown-transaction');
      guards.processes?.checkWrite(processId);
      const exclude = splitExclude(query.exclude);
      const { baseLayer } = query;
      const placement = await placeTransaction({ processId, transactionId, exclude, baseLayer });
      return { ...placement, kind: 'assigned-transaction', processId };
    },
  };
}

/** What needs neither network nor store. A process that is stored already may be posted again, wherever it may be served. */
function checkAllowed({ kind, processId, item }: VerifiedItem, guards: Guards): void {
  if (kind === 'process') {
    guards.processes?.checkRead(processId);
  } else {
    guards.processes?.checkWrite(processId);
    guards.checkSize?.(item);
  }
}

async function placeItem(verified: VerifiedItem, options: SubmitOptions): Promise<Placement> {
  const { guards, findReceipt } = options;
  const { kind, processId, item } = verified;
  const identity: ReceiptQuery = { kind, id: item.id, processId };
  const seen = await findReceipt(identity);
  if (seen !== undefined) return { ...seen, nonce: undefined, repeated: true };
  const owner = ownerAddress(item);
  return guards.shares.run({ processId, owner }, () =>
    verified.kind === 'message'
      ? placeMessage({ processId, item, identity }, options)
      : placeProcess(verified, identity, options),
  );
}

async function placeMessage(
  message: Pick<Extract<Job, { kind: 'message' }>, 'processId' | 'item' | 'identity'>,
  { guards, lanes }: SubmitOptions,
): Promise<Placement> {
  const { processId, item } = message;
  const compared = guards.deepHashes;
  if (compared === undefined || findTag(item.tags, 'From-Process') === undefined) {
    return lanes.enter({ kind: 'message', ...message });
  }
  const deepHashes = await compared.hash(item);
  return compared.place(
    { kind: 'message', processId, messageId: item.id, hashes: deepHashes },
    () => lanes.enter({ kind: 'message', ...message, deepHashes }),
  );
}

async function placeProcess(
  { processId, item, onBoot }: Extract<VerifiedItem, { kind: 'process' }>,
  identity: ReceiptQuery,
  { guards, lanes, prepare, processAssignment }: SubmitOptions,
): Promise<Placement> {
  guards.processes?.checkSpawn(processId);
  await prepare.checkOnBoot(onBoot);
  if (processAssignment) await guards.checkPlace?.(processId);
  const withAssignment = processAssignment;
  return lanes.enter({ kind: 'process', processId, item, withAssignment, identity });
}

interface TransactionRequest {
  readonly processId: Id;
  readonly transactionId: Id;
  readonly exclude: readonly string[];
  readonly baseLayer: boolean;
}

/**
 * Places transactions. Requests that differ in how the transaction is checked ask for the same assignment: each is checked, and
 * one of those that come together is placed. Two of them in one run, which is written whole or not at all, would keep each
 * other, and all that are in it, from being written.
 */
function makePlaceTransaction(
  options: SubmitOptions,
): (request: TransactionRequest) => Promise<Placement> {
  const { guards, lanes, prepare, assignRetryWindowMs } = options;
  // Without a window each posting is to have its own place.
  const join = assignRetryWindowMs > 0 ? makeOnce<Placement>() : alone;

  async function enter(request: TransactionRequest, identity: ReceiptQuery): Promise<Placement> {
    const { processId, transactionId, exclude } = request;
    const deepHashes = await prepare.checkTransaction(request);
    const compared = guards.deepHashes;
    const kind = 'assigned-transaction';
    const job = { kind, processId, transactionId, exclude, identity } as const;
    return join(nameOf(request), async () => {
      if (compared === undefined || deepHashes === undefined) return lanes.enter(job);
      return compared.place({ kind, processId, messageId: transactionId, hashes: deepHashes }, () =>
        lanes.enter({ ...job, deepHashes }),
      );
    });
  }

  async function place(request: TransactionRequest): Promise<Placement> {
    const { processId, transactionId, exclude } = request;
    const identity: ReceiptQuery = {
      kind: 'assign',
      processId,
      transactionId,
      exclude,
      since: options.now() - assignRetryWindowMs,
      // Without a window only this very posting counts: its own entry must be found again after a commit of unknown outcome.
      ...(assignRetryWindowMs > 0 ? {} : { since: 0, attempts: [] }),
    };
    const findRepeated = async (): Promise<Placement | undefined> => {
      const seen = await options.findReceipt(identity);
      return seen && { ...seen, nonce: undefined, repeated: true };
    };
    const repeated = await findRepeated();
    if (repeated !== undefined) return repeated;
    try {
      return await guards.shares.run({ processId, owner: undefined }, () =>
        enter(request, identity),
      );
    } catch (error) {
      // Another server may have taken the same assign since the look above: then its receipt is the answer.
      const first = isSuError(error, 'duplicate-message') ? await findRepeated() : undefined;
      if (first !== undefined) return first;
      throw error;
    }
  }

  return (request) => join(`${request.baseLayer},${nameOf(request)}`, () => place(request));
}

/** What the assignment that is asked for says. */
function nameOf({ processId, transactionId, exclude }: TransactionRequest): string {
  return [processId, transactionId, ...exclude].join(',');
}

function alone(_name: string, work: () => Promise<Placement>): Promise<Placement> {
  return work();
}

/**
 * An id of a request. 43 characters of base64url that no 32 bytes encode to have the right form, yet nothing can be
 * known under them.
 *
 * @throws SuError `invalid-request` for another form, `unknown` for an id that cannot exist
 */
function parseKnowable(text: string, name: string, unknown: ErrorCode): Id {
  if (!isId(text) && /^[\w-]{43}$/.test(text)) {
    throw new SuError(unknown, `${name} ${text} is not known`);
  }
  return parseId(text, name);
}

/** Runs the work of a key once at a time: whoever asks while it runs gets the same outcome, errors included, marked as repeated. */
function makeOnce<Outcome extends { readonly repeated: boolean }>(): (
  key: string,
  work: () => Promise<Outcome>,
) => Promise<Outcome> {
  const running = new Map<string, Promise<Outcome>>();
  return async (key, work) => {
    const first = running.get(key);
    if (first !== undefined) return { ...(await first), repeated: true };
    const outcome = work().finally(() => running.delete(key));
    running.set(key, outcome);
    return outcome;
  };
}

/**
 * Refuses writes for a while after the start.
 *
 * @param readyAt from when on writes are taken; both on one clock that never steps, ms
 * @throws SuError `not-ready`
 */
export function checkWarm(readyAt: number, now: number): void {
  if (now >= readyAt) return;
  const seconds = Math.ceil((readyAt - now) / 1000);
  throw new SuError('not-ready', `the scheduler takes writes in ${seconds} s`, {
    retryAfterSeconds: seconds,
  });
}
