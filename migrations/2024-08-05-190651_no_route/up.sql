alter table schedulers add column no_route boolean default false;
