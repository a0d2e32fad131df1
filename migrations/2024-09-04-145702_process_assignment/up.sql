-- A process may have an assignment of its own; rows from before this version have none.
alter table processes
  add column epoch integer,
  add column nonce integer,
  add column hash_chain text,
  add column timestamp bigint;
