-- Built outside a transaction, so that a table of many gigabytes stays readable and writable meanwhile.
create unique index concurrently su_messages_position on messages (process_id, epoch, nonce);
