import { makeTempRocksdb } from '../../support/temp-rocksdb.js';
import { describeLogReader } from '../conformance/log-reader.js';
import { describeOutbox } from '../conformance/outbox.js';
import { describeScheduleStore } from '../conformance/schedule-store.js';

describeScheduleStore('RocksDB', makeTempRocksdb);
describeLogReader('RocksDB', makeTempRocksdb);
describeOutbox('RocksDB', makeTempRocksdb);
