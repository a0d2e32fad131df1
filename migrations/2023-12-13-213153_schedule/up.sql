create table processes (
  row_id serial primary key,
  process_id varchar(255) unique not null,
  process_data jsonb not null,
  bundle bytea not null
);

create index idx_process_id on processes (process_id);

create table messages (
  row_id serial primary key,
  process_id varchar(255) not null references processes (process_id),
  message_id varchar(255) unique not null,
  message_data jsonb not null,
  epoch integer not null,
  nonce integer not null,
  timestamp bigint not null,
  bundle bytea not null,
  hash_chain text not null
);

create index idx_messages_message_id on messages (message_id);
create index idx_messages_process_id on messages (process_id);

create table schedulers (
  row_id serial primary key,
  url varchar unique not null,
  process_count integer not null
);

create table process_schedulers (
  row_id serial primary key,
  process_id varchar unique not null,
  scheduler_row_id integer not null references schedulers (row_id)
);
