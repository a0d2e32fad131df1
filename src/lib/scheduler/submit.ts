import { SuError, type ErrorCode } from '../errors.js';
import { splitExclude } from '../protocol/assignment.js';
import { isId, parseId, type Id } from '../protocol/ids.js';
import type { Job } from './entry.js';
import type { Lanes } from './lanes.js';
import type { Receipt, ReceiptQuery } from './ports.js';
import type { Prepare } from './prepare.js';
import type { Placement } from './process-lane.js';
import { verifyPostedItem, type VerifiedItem } from './verify-data-item.js';

/*
 * THE write path, top to bottom:
 *
 *   body ─▶ parse ─▶ verify ─▶ seen before? ─▶ prepare ─▶ lane of its process ─▶ committer ─▶ receipt
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
  const { lanes, prepare, findReceipt, checkReady, now, assignRetryWindowMs } = options;
  const once = makeOnce<Placement>();

  async function submitItem(body: Uint8Array): Promise<Submission> {
    checkReady();
    const verified = await verifyPostedItem(body);
    const { kind, processId, item } = verified;
    const placement = await once(item.id, () => placeItem(verified));
    return { ...placement, id: item.id, kind, processId };
  }

  async function placeItem(verified: VerifiedItem): Promise<Placement> {
    const { kind, processId, item } = verified;
    const identity: ReceiptQuery = { kind, id: item.id };
    const seen = await findReceipt(identity);
    if (seen !== undefined) return { ...seen, nonce: undefined, repeated: true };
    if (verified.kind === 'message') {
      return lanes.enter({ kind: 'message', processId, item, identity });
    }
    await prepare.checkOnBoot(verified.onBoot);
    const withAssignment = options.processAssignment;
    return lanes.enter({ kind: 'process', processId, item, withAssignment, identity });
  }

  async function submitAssign(query: AssignQuery): Promise<Submission> {
    checkReady();
    const processId = parseKnowable(query.processId, 'process-id', 'unknown-process');
    const transactionId = parseKnowable(query.assign, 'assign', 'unknown-transaction');
    const exclude = splitExclude(query.exclude);
    const place = (): Promise<Placement> =>
      placeTransaction({ processId, transactionId, exclude, baseLayer: query.baseLayer });
    const placement =
      assignRetryWindowMs > 0
        ? await once([processId, transactionId, ...exclude].join(','), place)
        : await place();
    return { ...placement, kind: 'assigned-transaction', processId };
  }

  async function placeTransaction(request: {
    readonly processId: Id;
    readonly transactionId: Id;
    readonly exclude: readonly string[];
    readonly baseLayer: boolean;
  }): Promise<Placement> {
    const { processId, transactionId, exclude } = request;
    const identity: ReceiptQuery = {
      kind: 'assign',
      processId,
      transactionId,
      exclude,
      // Without a window only this very posting counts: its own entry must be found again after a commit of unknown outcome.
      since: now() - assignRetryWindowMs,
    };
    const seen = await findReceipt(identity);
    if (seen !== undefined) return { ...seen, nonce: undefined, repeated: true };
    await prepare.checkTransaction(request);
    return lanes.enter({
      kind: 'assigned-transaction',
      processId,
      transactionId,
      exclude,
      identity,
    });
  }

  return { submitItem, submitAssign };
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
 * @param readyAt wall-clock ms from which on writes are taken
 * @throws SuError `not-ready`
 */
export function checkWarm(readyAt: number, now: number): void {
  if (now >= readyAt) return;
  const seconds = Math.ceil((readyAt - now) / 1000);
  throw new SuError('not-ready', `the scheduler takes writes in ${seconds} s`, {
    retryAfterSeconds: seconds,
  });
}
