#!/usr/bin/env node
'use strict';
// CommonJS, because libuv reads the size of its thread pool once, at the pool's first use, and Node reads an ES module
// through that pool: in one, this would come too late. Signatures take a thread a core and one more; files, names and the
// store need others beside them.
const { availableParallelism } = require('node:os');
const { join } = require('node:path');
process.env.UV_THREADPOOL_SIZE ??= String(Math.max(8, availableParallelism() + 5));

import('../dist/lib/cli/main.js').then(
  ({ runCli }) => runCli({ root: join(__dirname, '..') }),
  (error) => {
    process.stderr.write(
      `su: the program is not built or not installed whole (npm ci): ${error.message}\n`,
    );
    process.exit(70);
  },
);
