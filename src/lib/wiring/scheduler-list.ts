import { readFile } from 'node:fs/promises';
import type { SchedulerSource } from '../config/router-config.js';
import { isSuError, SuError } from '../errors.js';
import type { ListedScheduler } from '../router/ports.js';
import { listOfUrls, parseSchedulerList } from '../router/scheduler-list.js';

/**
 * Reads the list of SUs from where the configuration says.
 *
 * @throws SuError `invalid-config` that names file, line and reason
 */
export async function readSchedulerList(
  source: SchedulerSource,
): Promise<readonly ListedScheduler[]> {
  if (source.kind === 'urls') return listOfUrls(source.urls);
  let text: string;
  try {
    text = await readFile(source.path, 'utf8');
  } catch (cause) {
    const reason = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown';
    throw new SuError(
      'invalid-config',
      `SCHEDULER_LIST_PATH: ${source.path} cannot be read (${reason})`,
      { cause },
    );
  }
  try {
    return parseSchedulerList(text);
  } catch (error) {
    if (!isSuError(error, 'invalid-config')) throw error;
    throw new SuError('invalid-config', `SCHEDULER_LIST_PATH: ${source.path}, ${error.message}`, {
      details: error.details,
    });
  }
}
