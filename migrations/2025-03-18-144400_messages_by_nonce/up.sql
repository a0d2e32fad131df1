create index idx_messages_process_id_nonce on messages (process_id, nonce);
