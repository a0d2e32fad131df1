const QUIET_MS = 10_000;

/**
 * Runs after the last test. Mocha is run without `--exit`: a socket, timer, worker or lock that a test leaves open keeps
 * the process alive, and that is a failure. The timer does not keep it alive itself, so it fires only then.
 */
export function mochaGlobalTeardown(): void {
  const timer = setTimeout(() => {
    process.stderr.write(
      `\nleft open by the tests: ${process.getActiveResourcesInfo().join(', ')}\n`,
    );
    process.exit(1);
  }, QUIET_MS);
  timer.unref();
}
