import { openPostgresStore } from '../../../src/lib/storage/postgres/open-store.js';
import { migratedDatabase, silentLog } from '../../support/postgres.js';
import { describeLogReader } from '../conformance/log-reader.js';
import type { MakePlace } from '../conformance/open-store.js';
import { describeOutbox } from '../conformance/outbox.js';
import { describeScheduleStore } from '../conformance/schedule-store.js';

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
    // The queue goes by the database's clock, so time passes by making everything due earlier.
    pass: async (ms) => {
      await database.query(`update su_outbox set due_at = due_at - $1 * interval '1 millisecond'`, [
        ms,
      ]);
    },
    // Set back, it makes all that is stored lie further ahead.
    setClock: async (byMs) => {
      await database.query(`update su_outbox set due_at = due_at - $1 * interval '1 millisecond'`, [
        byMs,
      ]);
    },
    destroy: () => database.drop(),
  };
};

describe('the PostgreSQL store', function () {
  this.timeout(20_000);
  describeScheduleStore('PostgreSQL', makePlace);
  describeLogReader('PostgreSQL', makePlace);
  describeOutbox('PostgreSQL', makePlace);
});
