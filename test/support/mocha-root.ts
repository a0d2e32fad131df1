const QUIET_MS = 3_000;

/** How many of each kind of resource keep the process alive. */
type Resources = ReadonlyMap<string, number>;

interface Sample {
  readonly suite: string;
  readonly resources: Resources;
}

let atStart: Resources = new Map();
let current: string | undefined;
/** What was open at the end of each outermost suite, in order. */
const samples: Sample[] = [];

function openResources(): Resources {
  const counts = new Map<string, number>();
  for (const kind of process.getActiveResourcesInfo()) {
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  return counts;
}

export function mochaGlobalSetup(): void {
  atStart = openResources();
}

export const mochaHooks = {
  beforeEach(this: Mocha.Context): void {
    const suite = this.currentTest?.titlePath()[0];
    if (suite === current) return;
    // Mocha's own timer for this hook would count.
    this.timeout(0);
    if (current !== undefined) samples.push({ suite: current, resources: openResources() });
    current = suite;
  },
};

/**
 * Runs after the last test. Mocha is run without `--exit`: a socket, timer, worker or lock that a test leaves open keeps
 * the process alive, and that is a failure. The timer does not keep it alive itself, so it fires only then.
 */
export function mochaGlobalTeardown(): void {
  const timer = setTimeout(() => {
    process.stderr.write(`\nleft open by the tests:\n${leftovers().join('\n')}\n`);
    // Mocha's own listener for the end sets the status by the tests alone; this one comes after it.
    process.once('exit', () => (process.exitCode = 1));
    process.exit();
  }, QUIET_MS);
  timer.unref();
}

/** What is open and was not at the start, each kind with the suite since which one of it always was. */
function leftovers(): string[] {
  const found = [...openResources()].flatMap(([kind, count]) => {
    const before = atStart.get(kind) ?? 0;
    if (count <= before) return [];
    const closed = samples.findLastIndex(({ resources }) => (resources.get(kind) ?? 0) <= before);
    return `  ${kind} × ${count - before}, since '${samples[closed + 1]?.suite ?? current}'`;
  });
  return found.length === 0 ? ['  something Node does not name, perhaps a worker'] : found;
}
