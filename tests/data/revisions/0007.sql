-- What revision 0007 can tell beside that: totals by hour and operator, and a rejected record that was acknowledged.
UPDATE rejected_records SET acknowledged_at = '2026-02-04 05:00:00.123456' WHERE id = 1;
