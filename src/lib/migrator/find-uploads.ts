import { parseMessageBundle, parseProcessBundle, type StoredBundle } from '../protocol/bundle.js';
import { UPLOAD_ASSIGNMENT, UPLOAD_BUNDLE, UPLOAD_ITEM } from '../scheduler/ports.js';
import type { QueuedUpload, StoredMessage, StoredProcess } from './ports.js';

/**
 * What is published of a stored entry: its item and its assignment one by one, or the wrapper where that is the assignment or
 * all there is. Undefined when its bundle cannot be read: there is nothing to publish.
 */
export function findUploads(row: StoredProcess | StoredMessage): QueuedUpload | undefined {
  const { processId, bundle } = row;
  if (!('messageId' in row)) {
    const parsed = attempt(() => parseProcessBundle(bundle));
    if (parsed === undefined) return undefined;
    return { processId, messageId: processId, assignmentId: undefined, parts: partsOf(parsed) };
  }
  const parsed = attempt(() => parseMessageBundle(bundle));
  if (parsed === undefined) return undefined;
  const assignmentId = row.assignmentId ?? parsed.assignment?.id;
  return { processId, messageId: row.messageId, assignmentId, parts: partsOf(parsed) };
}

function partsOf({ form }: StoredBundle): number {
  return form === 'inner-assignment' ? UPLOAD_ITEM | UPLOAD_ASSIGNMENT : UPLOAD_BUNDLE;
}

/** Damage is the audit's to name. */
function attempt(parse: () => StoredBundle): StoredBundle | undefined {
  try {
    return parse();
  } catch {
    return undefined;
  }
}
