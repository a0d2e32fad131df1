import { expect } from 'chai';
import { listFiles, readText } from './source-files.js';

/** What is left of a built file when its types are gone. */
const NO_CODE = /^export \{\};\n\/\/# sourceMappingURL=\S+\s*$/;

describe('the coverage', () => {
  it('leaves out nothing but files of types, of which no line can run', () => {
    const { exclude } = JSON.parse(readText('.c8rc.json')) as { exclude: readonly string[] };
    const [declarations, ...files] = exclude;
    expect(declarations).to.equal('**/*.d.ts');
    expect(listFiles()).to.include.members(files);
    const built = files.map((path) => path.replace(/^src\/(.+)\.ts$/, 'dist/$1.js'));
    expect(built.filter((path) => !NO_CODE.test(readText(path)))).to.deep.equal([]);
  });
});
