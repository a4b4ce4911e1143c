-- What revision 0004 can tell beside that.
UPDATE accounts SET retired_at = '2026-02-03 05:00:00.123456', dates_mean = 'excluded', dates_seen_at = '2026-02-02 05:00:00.123456' WHERE id = 2;
UPDATE synced_days SET purged_at = '2026-02-03 05:00:00.123456' WHERE account_id = 2;
DELETE FROM billing_records WHERE account_id = 2;
INSERT INTO purged_months (account_id, month, records, delivered, spend, restated, purged_at)
  VALUES (2, '2026-02-01', 1, 0, '1.500000', '0.000000', '2026-02-03 05:00:00.123456');
