/**
 * Runs work that makes errors only to catch them again, and spares it their stacks. Node 24 finds out that the options of a signature
 * are no key by asking two kinds of keys, each of which throws: 10 to 15 µs each time, six times for a verification.
 *
 * @param work synchronous; what it throws itself has no stack either
 */
export function withoutStacks<Result>(work: () => Result): Result {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  try {
    return work();
  } finally {
    Error.stackTraceLimit = limit;
  }
}
