drop index idx_messages_process_id;
create index idx_messages_process_id_timestamp on messages (process_id, timestamp);
