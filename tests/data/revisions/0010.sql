-- What revision 0010 can tell beside that: a journal line that was purged, whose id a booked month still names.
INSERT INTO purged_corrections (account_id, day, closing, period, delta) VALUES (2, '2026-01-31', 1, '2026-02-01', '0.350000');
UPDATE closed_months SET journal_id = 70 WHERE account_id = 2;
