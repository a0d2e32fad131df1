-- By what the same content under another signature is recognised. A row is inserted in the transaction of its entry, or
-- later for an entry that is stored already: it never stands without one.
create table su_deep_hashes (
  process_id varchar(255) not null,
  version text not null,
  hash bytea not null,
  message_id varchar(255) not null,
  epoch integer not null,
  nonce integer not null,
  primary key (process_id, version, hash)
);

-- Up to which entry of a process those that were stored without a hash have been looked at.
create table su_deep_hash_coverage (
  process_id varchar(255) primary key,
  version text not null,
  -- both null: there was no entry yet
  epoch integer,
  nonce integer
);
