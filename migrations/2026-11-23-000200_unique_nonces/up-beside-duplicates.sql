-- For a table that already holds a nonce twice: only rows after the last existing one are kept unique, and a plain
-- index gives the order. :last_row_id is filled in by the program.
create unique index concurrently su_messages_position_new on messages (process_id, epoch, nonce) where row_id > :last_row_id;

create index concurrently su_messages_position_all on messages (process_id, epoch, nonce);
