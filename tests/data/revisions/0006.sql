-- What revision 0006 can tell beside that: a record that is listed more than once, and what a snapshot is worth.
INSERT INTO billing_records (id, account_id, created_at, phone, code_auth, ordinal, status, status_info, price, repeats, created_at_utc, first_seen_at, updated_at, withdrawn_at)
  VALUES (11, 1, '2026-01-31 10:15:00', '+79243555100', '0371', 1, 1, 'ok', '0.350000', 2, '2026-01-31 07:15:00', '2026-02-02 05:00:00.123456', '2026-02-03 05:00:00.123456', NULL);
UPDATE synced_days SET records = 5, spend = '1.300000' WHERE account_id = 1 AND day = '2026-01-31';
UPDATE balance_snapshots SET restated_up = '0.500000', restated_down = '0.000000', journal_id = 4, unproven_days = 1 WHERE id = 2;
