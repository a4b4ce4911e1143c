-- What revision 0003 can tell beside that.
UPDATE balance_snapshots SET run_id = 5, moment = 'after' WHERE id = 2;
INSERT INTO balance_top_ups (id, account_id, at, amount, noted_at)
  VALUES (1, 1, '2026-02-02 06:00:00', '0.100000', '2026-02-02 07:00:00');
INSERT INTO numbering_ranges (block, first_phone, last_phone, operator, region, inn, file_name, file_changed_at, imported_at)
  VALUES ('+792435', '+79243500000', '+79243599999', 'ООО Мы', 'Чита', NULL, 'DEF', '2026-02-02 05:00:00.123456', '2026-02-02 05:00:00.123456');
