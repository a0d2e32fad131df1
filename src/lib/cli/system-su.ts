/** How the program was called. */
export interface Call {
  /** The words after the program's name. */
  readonly argv: readonly string[];
  /** The name it was called by, without folder. */
  readonly name: string;
  /** A person sits at a terminal. */
  readonly terminal: boolean;
}

const THIS_PROGRAM = 'this is su, the ao Scheduler Unit (su --help)';
const SYSTEM_OPTIONS = new Set([
  '-',
  '-l',
  '-c',
  '-s',
  '-m',
  '-p',
  '-g',
  '-G',
  '-P',
  '-w',
  '--login',
  '--command',
  '--shell',
]);

/**
 * The sentence for somebody who meant the system's `su`, which a global install of this package can shadow;
 * undefined when the call is not one of that kind.
 *
 * @param commandNames first words this program knows: whatever else stands there could be a user's name
 */
export function recogniseSystemSu(call: Call, commandNames: readonly string[]): string | undefined {
  const [first] = call.argv;
  if (first === undefined) {
    const meantHere = !call.terminal || call.name === 'ao-su';
    return meantHere ? undefined : `${THIS_PROGRAM}; the one that changes users is /bin/su`;
  }
  const rest = call.argv.every((word) => /^[\w./@-]+$/.test(word)) ? ` ${call.argv.join(' ')}` : '';
  if (SYSTEM_OPTIONS.has(first)) {
    return `${THIS_PROGRAM}; the one that changes users is /bin/su${rest}`;
  }
  if (first.startsWith('-') || commandNames.includes(first)) return undefined;
  if (first.includes(':'))
    return `${JSON.stringify(first.slice(0, 40))} is not a command (su --help lists them)`;
  // A user's name and a misspelt command look alike: one sentence serves both.
  const shown = JSON.stringify(first.slice(0, 40));
  return `${THIS_PROGRAM}, and ${shown} is none of its commands; the one that changes users is /bin/su`;
}

/**
 * The sentence for a topic with further words, as in `su db migrate`: oclif shows the topic's help and succeeds, and a
 * script believes that something was done. Undefined for everything else.
 */
export function refuseTopic(
  argv: readonly string[],
  known: { readonly topics: readonly string[]; readonly commands: readonly string[] },
): string | undefined {
  const [topic = '', ...rest] = argv;
  if (!known.topics.includes(topic) || known.commands.includes(topic)) return undefined;
  if (rest.every((word) => word === '--help' || word === '-h')) return undefined;
  const [name = '', ...options] = rest;
  if (known.commands.includes(`${topic}:${name}`)) {
    return `a command is one word: su ${[`${topic}:${name}`, ...options].join(' ')}`;
  }
  const shown = JSON.stringify([topic, ...rest].join(' ').slice(0, 60));
  return `${shown} is not a command (su ${topic} --help lists those of ${topic})`;
}
