import { expect } from 'chai';
import { isSuError } from '../../src/lib/errors.js';
import { parseQuery } from '../../src/lib/local-network/graphql-reader.js';

describe('GraphQL reader', () => {
  it('reads variables, defaults, aliases, arguments, comments and directives', () => {
    const query = parseQuery(`
      query Find ($ids: [ID!]!, $first: Int = 5) { # a comment
        found: transactions(ids: $ids, first: $first, sort: HEIGHT_DESC, tags: [{name: "a\\"b", values: ["x", 1, true, null]}]) {
          edges { node { id tags @skip (if: $no) { name } } }
        }
      }`);
    expect(query.defaults).to.deep.equal({ first: { value: 5 } });
    const field = query.fields[0];
    expect(field).to.include({ alias: 'found', name: 'transactions' });
    expect(field?.args['ids']).to.deep.equal({ variable: 'ids' });
    expect(field?.args['sort']).to.deep.equal({ value: 'HEIGHT_DESC' });
    expect(JSON.stringify(field?.args['tags'])).to.contain('a\\"b').and.contain('null');
    const tags = field?.fields?.[0]?.fields?.[0]?.fields?.[1];
    expect(tags?.conditions).to.deep.equal([{ wanted: false, when: { variable: 'no' } }]);
  });

  it('refuses what it does not support or cannot read, with a sentence', () => {
    const cases = [
      '',
      '{',
      '{}',
      '{ a',
      '{ a(',
      '{ a(b) }',
      '{ a(b:) }',
      '{ a(b: "open) }',
      '{ a(b: """x""") }',
      '{ ...F } fragment F on T { a }',
      '{ ... on T { a } }',
      'mutation { a }',
      'query { a } query { b }',
      'query ($a) { b }',
      '{ a @deprecated }',
      '{ a(b: "\\q") }',
      '{ a; }',
      `{${'a{'.repeat(50)}`,
      `{a(b:${'['.repeat(5_000)}`,
      `query(${'$a:['.repeat(5_000)}`,
      ' '.repeat(20_000),
    ];
    for (const text of cases) {
      let error: unknown;
      try {
        parseQuery(text);
      } catch (thrown) {
        error = thrown;
      }
      expect(isSuError(error, 'invalid-request'), text.slice(0, 40)).to.equal(true);
    }
  });
});
