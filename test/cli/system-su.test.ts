import { expect } from 'chai';
import { recogniseSystemSu, refuseTopic } from '../../src/lib/cli/system-su.js';

const COMMANDS = ['serve', 'db:migrate', 'db'];
const asked = (argv: readonly string[], call: { name?: string; terminal?: boolean } = {}) =>
  recogniseSystemSu({ argv, name: call.name ?? 'su', terminal: call.terminal ?? true }, COMMANDS);

describe('recogniseSystemSu', () => {
  for (const argv of [['-'], ['-', 'postgres'], ['root'], ['-c', 'ls'], ['--login']]) {
    it(`says in one line what this is and where the other one is, called su ${argv.join(' ')}`, () => {
      expect(asked(argv))
        .to.match(/^this is su, the ao Scheduler Unit.*\/bin\/su/)
        .and.not.include('\n');
    });
  }

  it('repeats the call for the other one, unless that needs quoting', () => {
    expect(asked(['-', 'postgres'])).to.match(/\/bin\/su - postgres$/);
    expect(asked(['-c', 'rm -rf "$x"'])).to.match(/\/bin\/su$/);
  });

  it('takes no arguments under a terminal for the other one, except as ao-su', () => {
    expect(asked([])).to.match(/\/bin\/su$/);
    expect(asked([], { name: 'ao-su' })).to.equal(undefined);
    expect(asked([], { terminal: false })).to.equal(undefined);
  });

  it('leaves its own commands, topics and flags alone', () => {
    for (const argv of [['serve'], ['db'], ['db:migrate'], ['--help'], ['--version'], ['-h']]) {
      expect(asked(argv), argv.join(' ')).to.equal(undefined);
    }
  });

  it('names what is no command and no user either', () => {
    expect(asked(['db:migrat'])).to.equal('"db:migrat" is not a command (su --help lists them)');
  });
});

describe('refuseTopic', () => {
  const known = { topics: ['db', 'serve'], commands: ['serve', 'db:migrate'] };

  it('names the command that was meant', () => {
    expect(refuseTopic(['db', 'migrate', '--status'], known)).to.equal(
      'a command is one word: su db:migrate --status',
    );
    expect(refuseTopic(['db', 'typo'], known)).to.equal(
      '"db typo" is not a command (su db --help lists those of db)',
    );
    expect(refuseTopic(['db', '--status'], known)).to.match(/^"db --status" is not a command/);
  });

  it('leaves topics, their help, commands and other words alone', () => {
    for (const argv of [
      ['db'],
      ['db', '--help'],
      ['db:migrate', 'x'],
      ['serve', 'su'],
      ['x'],
      [],
    ]) {
      expect(refuseTopic(argv, known), argv.join(' ')).to.equal(undefined);
    }
  });
});
