#!/usr/bin/env -S node --import tsx
'use strict';
// The same as run.js, on the sources: no build, and stack traces that name them.
const { availableParallelism } = require('node:os');
const { join } = require('node:path');
process.env.UV_THREADPOOL_SIZE ??= String(Math.max(8, availableParallelism() + 5));

import('../src/lib/cli/main.ts').then(
  ({ runCli }) => runCli({ root: join(__dirname, '..'), commands: './src/commands' }),
  (error) => {
    process.stderr.write(
      `su: the sources are run by npm run dev or node --import tsx bin/dev.js: ${error.message}\n`,
    );
    process.exit(70);
  },
);
