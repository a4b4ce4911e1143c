-- What revision 0002 can tell beside that.
UPDATE accounts SET phones = 'keyed', phones_key_id = 'abcdef01', codes = 'drop' WHERE id = 2;
