import { emptyDatabase } from '../support/postgres.js';
import { describeReplay } from './describe-replay.js';

describeReplay({
  name: 'PostgreSQL',
  async open() {
    // Empty, so that the server makes the schema itself.
    const database = await emptyDatabase();
    return { env: () => ({ DATABASE_URL: database.url }), close: () => database.drop() };
  },
});
