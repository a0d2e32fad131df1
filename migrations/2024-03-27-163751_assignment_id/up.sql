-- One transaction may be assigned more than once, so it is the assignment that is unique.
alter table messages add column assignment_id varchar(255) unique;
alter table messages drop constraint messages_message_id_key;
create index idx_assignments_assignment_id on messages (assignment_id);
