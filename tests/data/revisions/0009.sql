-- What revision 0009 can tell beside that: the channel of records, and the totals of a channel.
INSERT INTO channels (id, name) VALUES (1, 'SMS');
UPDATE billing_records SET channel = 1 WHERE account_id = 2;
INSERT INTO channel_totals (account_id, day, channel, records, delivered, spend) VALUES (2, '2026-02-01', 1, 2, 1, '0.700000');
