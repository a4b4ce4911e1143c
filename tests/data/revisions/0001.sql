-- Rows of a database that was made and filled at revision 0001: two accounts, one with everything in it.
INSERT INTO accounts (id, label, created_at)
  VALUES (1, 'магазин «Ёж»', '2026-02-02 05:00:00.123456'),
    (2, 'bank', '2026-02-02 05:00:00.123456');
INSERT INTO billing_records (id, account_id, created_at, phone, code_auth, ordinal, status, status_info, price, repeats, created_at_utc, first_seen_at, updated_at, withdrawn_at)
  VALUES (7, 1, '2026-01-31 23:59:59', '+79243555100', '0371', 1, 1, 'ok', '0.200000', 3, '2026-01-31 20:59:59', '2026-02-02 05:00:00.123456', '2026-02-02 05:00:00.123456', NULL);
INSERT INTO billing_records (id, account_id, created_at, phone, code_auth, ordinal, status, status_info, price, repeats, created_at_utc, first_seen_at, updated_at, withdrawn_at)
  VALUES (8, 1, '2026-02-01 00:00:00', '+79243555100', '', 1, NULL, 'нет ответа 😀', '999999999999.999999', 1, '2026-01-31 21:00:00', '2026-02-02 05:00:00.123456', '2026-02-02 05:00:00.123456', NULL);
INSERT INTO billing_records (id, account_id, created_at, phone, code_auth, ordinal, status, status_info, price, repeats, created_at_utc, first_seen_at, updated_at, withdrawn_at)
  VALUES (9, 1, '2026-02-01 00:00:00', '+79243555100', '', 2, 0, '', '-0.000001', 1, '2026-01-31 21:00:00', '2026-02-02 05:00:00.123456', '2026-02-02 05:00:00.123456', '2026-02-02 05:00:00.123456');
INSERT INTO billing_records (id, account_id, created_at, phone, code_auth, ordinal, status, status_info, price, repeats, created_at_utc, first_seen_at, updated_at, withdrawn_at)
  VALUES (10, 2, '2026-02-01 00:00:00', 'no number', '0', 1, 2, 'x', '1.500000', 1, '2026-01-31 21:00:00', '2026-02-02 05:00:00.123456', '2026-02-02 05:00:00.123456', NULL);
INSERT INTO sync_runs (id, account_id, command, program_version, started_at, finished_at, outcome, exit_code, error, first_day, last_day, sources, days, new, changed, withdrawn, unchanged, rejected, suspect_days)
  VALUES (5, 1, 'sync', '0.0.1', '2026-02-02 05:00:00.123456', '2026-02-02 05:00:00.123456', 'look', 65, 'words', '2026-01-31', '2026-02-01', 'json,csv', 2, 3, 1, 1, 0, 1, 1);
INSERT INTO restatements (id, account_id, run_id, day, restated_at, kind, created_at, phone, code_auth, ordinal, status_before, status_info_before, price_before, repeats_before, status_after, status_info_after, price_after, repeats_after, delta)
  VALUES (4, 1, 5, '2026-01-31', '2026-02-02 05:00:00.123456', 'corrected', '2026-01-31 23:59:59', '+79243555100', '0371', 1, 0, 'нет', '0.100000', 1, 1, 'ok', '0.200000', 3, '0.500000');
INSERT INTO synced_days (account_id, day, digest, records, spend, source, stored_at, first_closed_at, first_closed_spend, restated_at, suspect_since, suspect_reason)
  VALUES (1, '2026-01-31', 'd1', 3, '0.600000', 'json', '2026-02-02 05:00:00.123456', '2026-02-02 05:00:00.123456', '0.100000', '2026-02-02 05:00:00.123456', NULL, NULL);
INSERT INTO synced_days (account_id, day, digest, records, spend, source, stored_at, first_closed_at, first_closed_spend, restated_at, suspect_since, suspect_reason)
  VALUES (1, '2026-02-01', 'd2', 1, '999999999999.999999', 'csv', '2026-02-02 05:00:00.123456', NULL, NULL, NULL, '2026-02-02 05:00:00.123456', 'all gone');
INSERT INTO synced_days (account_id, day, digest, records, spend, source, stored_at, first_closed_at, first_closed_spend, restated_at, suspect_since, suspect_reason)
  VALUES (2, '2026-02-01', 'd3', 1, '1.500000', 'csv', '2026-02-02 05:00:00.123456', '2026-02-02 05:00:00.123456', '1.500000', NULL, NULL, NULL);
INSERT INTO sync_state (account_id, first_day, last_synced_date, synced_until_utc, settled_through, last_success_at, fence)
  VALUES (1, '2026-01-31', '2026-01-31', '2026-01-31 21:00:00', '2026-01-30', '2026-02-02 05:00:00.123456', 3),
    (2, NULL, NULL, NULL, NULL, NULL, 0);
INSERT INTO rejected_records (id, account_id, day, asked_first, asked_last, reason, payload, payload_digest, first_seen_at)
  VALUES (6, 1, NULL, '2026-01-31', '2026-02-01', 'price is no number', '{"price": "x"}', 'p1', '2026-02-02 05:00:00.123456');
INSERT INTO balance_snapshots (id, account_id, taken_at, balance, recorded_spend)
  VALUES (1, 1, '2026-02-02 05:00:00.123456', '100.000000', '0.000000'),
    (2, 1, '2026-02-03 05:00:00.000001', '99.500000', '0.600000');
