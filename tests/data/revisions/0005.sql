-- What revision 0005 can tell beside that.
UPDATE accounts SET token_fingerprint = 'a1b2c3', timezone = 'Asia/Vladivostok' WHERE id = 2;
UPDATE sync_state SET revision = 3 WHERE account_id = 2;
UPDATE synced_days SET revision = 3 WHERE account_id = 2;
