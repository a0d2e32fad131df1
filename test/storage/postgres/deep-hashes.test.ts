import { openPostgresStore } from '../../../src/lib/storage/postgres/open-store.js';
import { migratedDatabase, silentLog } from '../../support/postgres.js';
import { describeDeepHashes } from '../conformance/deep-hashes.js';
import type { MakePlace } from '../conformance/open-store.js';

const makePlace: MakePlace = async (leaseMs) => {
  const database = await migratedDatabase();
  return {
    open: async () => {
      const opened = openPostgresStore({
        writerUrl: database.url,
        writeConnections: 4,
        readConnections: 4,
        leaseMs,
        clock: Date.now,
        log: silentLog,
      });
      await opened.ensureMigrated();
      return opened;
    },
    // Nothing here goes by the time of the outbox.
    pass: () => Promise.resolve(),
    destroy: () => database.drop(),
  };
};

describe('the deep hashes on PostgreSQL', function () {
  this.timeout(20_000);
  describeDeepHashes('PostgreSQL', makePlace);
});
