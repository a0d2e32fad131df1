-- What is still to be published. A row names its entry and holds no copy of the bytes; it is inserted in the
-- transaction of its entry and deleted only after the bundler has accepted every part.
create table su_outbox (
  row_id bigserial primary key,
  process_id varchar(255) not null,
  message_id varchar(255) not null,
  -- null for a process
  assignment_id varchar(255),
  -- which uploads are left, as bits: 1 the item, 2 the assignment, 4 the bundle
  parts smallint not null,
  attempts integer not null default 0,
  -- a row that somebody works on is due again when its lease ends
  due_at timestamptz not null,
  queued_at timestamptz not null default now(),
  -- set while the row waits for an operator
  parked_at timestamptz,
  reason text
)
-- A queue is mostly dead rows: the default share of the table would let it bloat between two vacuums.
with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000);

create index su_outbox_due on su_outbox (due_at, row_id) where parked_at is null;
create index su_outbox_parked on su_outbox (row_id) where parked_at is not null;
