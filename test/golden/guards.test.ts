import { join } from 'node:path';
import { emptyDatabase } from '../support/postgres.js';
import { describeGuards } from './describe-guards.js';

describeGuards({
  name: 'the embedded store',
  open: () =>
    Promise.resolve({
      env: (folder) => ({ SU_DATA_DIR: join(folder, 'data') }),
      close: () => Promise.resolve(),
    }),
});

describeGuards({
  name: 'PostgreSQL',
  async open() {
    const database = await emptyDatabase();
    return { env: () => ({ DATABASE_URL: database.url }), close: () => database.drop() };
  },
});
