import { expect } from 'chai';
import { listOfUrls, parseSchedulerList } from '../../src/lib/router/scheduler-list.js';
import { SuError } from '../../src/lib/errors.js';
import { randomId } from '../support/item-factory.js';

function complaint(text: string): string {
  try {
    parseSchedulerList(text);
  } catch (error) {
    if (!(error instanceof SuError)) throw error;
    expect(error.code).to.equal('invalid-config');
    return error.message;
  }
  throw new Error('the list was accepted');
}

describe('the list of Scheduler Units', () => {
  it('is read with its flags; null counts as absent, slashes at the end of a URL are dropped', () => {
    const [one, two] = [randomId(), randomId()];
    const list = parseSchedulerList(
      `\uFEFF[{"url": "https://su1.example/"},
        {"url": "http://10.0.0.2:9000/base//", "no_route": true, "wallets_only": null, "wallets_to_route": null},
        {"url":"https://su3.example","wallets_only":true,"wallets_to_route":" ${one}, ,${two} "}]`,
    );
    expect(list).to.deep.equal([
      { url: 'https://su1.example', noRoute: false, walletsToRoute: [], walletsOnly: false },
      { url: 'http://10.0.0.2:9000/base', noRoute: true, walletsToRoute: [], walletsOnly: false },
      { url: 'https://su3.example', noRoute: false, walletsToRoute: [one, two], walletsOnly: true },
    ]);
  });

  it('is made of URLs alone when no file names them, each once', () => {
    expect(listOfUrls(['http://a/', 'http://b', 'http://a']).map(({ url }) => url)).to.deep.equal([
      'http://a',
      'http://b',
    ]);
  });

  const REFUSED: readonly (readonly [what: string, text: string, complaint: RegExp])[] = [
    ['an empty file', '', /^line 1: expected a value, found the end of the file/],
    ['an empty list', '\n[ ]', /^line 2: the list names no Scheduler Unit/],
    ['an object', '{"url": "http://a"}', /^line 1: expected a list in square brackets/],
    ['a comma too many', '[\n{"url":"http://a"},\n]', /^line 3: expected a value, found "]"/],
    [
      'a missing comma',
      '[{"url":"http://a"}\n{"url":"http://b"}]',
      /^line 2: expected a comma or ]/,
    ],
    ['a missing bracket', '[{"url":"http://a"}\n', /^line 2: expected a comma or ], found the end/],
    ['more after its end', '[{"url":"http://a"}]\n[]', /^line 2: expected nothing more/],
    ['a name without quotes', '[\n{url:"http://a"}]', /^line 2: expected a name in double quotes/],
    ['a name twice', '[{"url":"http://a",\n"url":"http://b"}]', /^line 2: "url" is there twice/],
    ['a broken text', '[{"url":"http://a\n"}]', /^line 1: expected a value/],
    ['a text for an entry', '["http://a"]', /^line 1: expected an object such as/],
    ['an entry without url', '[\n\n{"no_route":true}]', /^line 3: the entry has no url/],
    ['a url that is none', '[{"url":\n"su1.example"}]', /^line 2: "su1.example" is not an http/],
    ['another scheme', '[{"url":"ftp://a"}]', /^line 1: "ftp:\/\/a" is not an http/],
    ['a number for a url', '[{"url":7}]', /^line 1: url is not an http/],
    ['a query', '[{"url":"http://a?b=c"}]', /^line 1: .* has a query/],
    [
      'a url twice',
      '[{"url":"http://a"},\n{"url":"http://a/"}]',
      /^line 2: "http:\/\/a" is in the list twice/,
    ],
    [
      'a name that is not known',
      '[{"url":"http://a",\n"noroute":true}]',
      /^line 2: "noroute" is not known: expected url, no_route/,
    ],
    [
      'a flag that is a text',
      '[{"url":"http://a","no_route":"true"}]',
      /^line 1: no_route is not true or false/,
    ],
    [
      'wallets that are a list',
      '[{"url":"http://a","wallets_to_route":["x"]}]',
      /^line 1: wallets_to_route is not a text/,
    ],
    [
      'a wallet that is none',
      '[{"url":"http://a",\n"wallets_to_route":"0xabc"}]',
      /^line 2: wallets_to_route: "0xabc" is not an address/,
    ],
    ['nesting without end', '['.repeat(100_000), /^line 1: the nesting is too deep/],
  ];
  for (const [what, text, expected] of REFUSED) {
    it(`is refused with line and reason for ${what}`, () => {
      expect(complaint(text)).to.match(expected);
    });
  }

  it('is refused for a password in a url, which is not shown', () => {
    const sentence = complaint('[{"url":"http://user:s3cret@a"}]');
    expect(sentence).to.match(/^line 1: the url holds a user or password/);
    expect(sentence).not.to.include('s3cret');
  });
});
