import { join } from 'node:path';
import { emptyDatabase } from '../support/postgres.js';
import { describeReplay } from './describe-replay.js';

describeReplay({
  name: 'PostgreSQL with a disk copy',
  async open() {
    const database = await emptyDatabase();
    return {
      env: (folder) => ({
        DATABASE_URL: database.url,
        USE_DISK: 'true',
        SU_DATA_DIR: join(folder, 'disk'),
      }),
      close: () => database.drop(),
    };
  },
});
