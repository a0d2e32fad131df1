import type { RowSpan } from './disk-ports.js';

/**
 * What of a span is not covered yet.
 *
 * @param covered in order, none overlapping
 */
export function subtractSpans(span: RowSpan, covered: readonly RowSpan[]): readonly RowSpan[] {
  const left: RowSpan[] = [];
  let { after } = span;
  for (const done of covered) {
    if (done.through <= after) continue;
    if (done.after >= span.through) break;
    if (done.after > after) left.push({ after, through: done.after });
    after = done.through;
  }
  if (after < span.through) left.push({ after, through: span.through });
  return left;
}

/** The row up to which everything is covered from the first one on. */
export function coveredFromStart(covered: readonly RowSpan[]): number {
  const [first] = covered;
  return first === undefined || first.after > 0 ? 0 : first.through;
}
