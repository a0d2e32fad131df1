import { makeTempRocksdb } from '../../support/temp-rocksdb.js';
import { describeDeepHashes } from '../conformance/deep-hashes.js';

describeDeepHashes('RocksDB', makeTempRocksdb);
