-- What revision 0008 can tell beside that: the price terms of an account, and a month that was booked.
UPDATE accounts SET currency = 'EUR', vat_basis_points = 2000, vat = 'excluded' WHERE id = 2;
INSERT INTO closed_months (account_id, month, closing, kind, closed_at, records, booked, currency, vat_basis_points, vat, journal_id) VALUES (2, '2026-02-01', 1, 'provisional', '2026-02-05 05:00:00.123456', 2, '0.700000', 'EUR', 2000, 'excluded', 0);
