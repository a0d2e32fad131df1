alter table schedulers
  add column wallets_to_route text,
  add column wallets_only boolean;
