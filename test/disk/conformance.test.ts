import { describeLogReader } from '../storage/conformance/log-reader.js';
import type { MakePlace } from '../storage/conformance/open-store.js';
import { describeScheduleStore } from '../storage/conformance/schedule-store.js';
import { makeFolder, openDiskedStore, removeFolder } from '../support/disked-store.js';
import { migratedDatabase } from '../support/postgres.js';

const makePlace: MakePlace = async (leaseMs) => {
  const database = await migratedDatabase();
  const folder = await makeFolder();
  return {
    open: async () => {
      const opened = await openDiskedStore(database.url, folder, leaseMs);
      await opened.settled();
      return opened;
    },
    pass: () => Promise.resolve(),
    destroy: async () => {
      await database.drop();
      await removeFolder(folder);
    },
  };
};

describe('PostgreSQL with a disk copy', function () {
  this.timeout(30_000);
  describeScheduleStore('PostgreSQL with a disk copy', makePlace);
  describeLogReader('PostgreSQL with a disk copy', makePlace);
});
