/** What is listed of an outbox row; the store's own listing has these and more. */
interface Listing {
  readonly key: string;
  readonly processId: string;
  readonly messageId: string;
  readonly assignmentId: string | undefined;
  readonly attempts: number;
  readonly state: string;
  readonly reason: string | undefined;
  /** Milliseconds since the epoch. */
  readonly queuedAt: number;
}

/** One line of `su outbox:list`; the key stands first, as `outbox:retry` wants it. */
export function listingLine(row: Listing): string {
  const what =
    row.messageId === row.processId
      ? `process ${row.processId}`
      : `message ${row.messageId} of process ${row.processId}`;
  const tries = `${row.attempts} ${row.attempts === 1 ? 'try' : 'tries'}`;
  const since = `since ${new Date(row.queuedAt).toISOString()}`;
  return [
    row.key,
    row.state,
    what,
    since,
    tries,
    ...(row.reason === undefined ? [] : [row.reason]),
  ].join('  ');
}
