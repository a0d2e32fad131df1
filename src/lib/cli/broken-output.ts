/** What a shell says of a program that SIGPIPE ended. */
const READER_GONE = 141;

/**
 * From now on output that cannot be written ends the program like any other: quietly when its reader has gone, as with
 * `su verify | head`, else with a sentence. What goes to stderr is for somebody who may have gone as well, and what the
 * program does is worth more than telling of it: a server goes on, and finishes what was taken when it is stopped.
 */
export function catchBrokenOutput(): void {
  process.stderr.on('error', () => undefined);
  // Before oclif's own listener, which throws what is no EPIPE, and takes EPIPE for success.
  process.stdout.prependListener('error', (error: Error & { readonly code?: string }) => {
    if (error.code === 'EPIPE') process.exit(READER_GONE);
    process.stderr.write(`su: the output cannot be written: ${error.message}\n`);
    process.exit(2);
  });
}
