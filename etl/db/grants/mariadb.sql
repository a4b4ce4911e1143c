-- Three users for a database of billing-etl on MariaDB or MySQL 8. As root: mariadb DATABASE < mariadb.sql, part by part.
-- They are locked until they have a password: ALTER USER billing_reader IDENTIFIED BY '…' ACCOUNT UNLOCK.

-- 1. Once, before the first migration.

CREATE USER billing_owner ACCOUNT LOCK;
CREATE USER billing_writer ACCOUNT LOCK;
CREATE USER billing_reader ACCOUNT LOCK;
GRANT ALL ON * TO billing_owner;
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE TEMPORARY TABLES ON * TO billing_writer;

-- 2. After the first migration by billing_owner (billing-etl migrate), and after one that brings new views.
-- The views read the tables with the rights of billing_owner: keep that user.

GRANT SELECT ON billing TO billing_reader;
GRANT SELECT ON daily_spend TO billing_reader;
GRANT SELECT ON monthly_spend TO billing_reader;
GRANT SELECT ON delivery_by_operator TO billing_reader;
GRANT SELECT ON daily_channels TO billing_reader;
GRANT SELECT ON hourly_spend TO billing_reader;
GRANT SELECT ON restated_days TO billing_reader;
GRANT SELECT ON balance_proof TO billing_reader;
GRANT SELECT ON monthly_close TO billing_reader;
GRANT SELECT ON restatement_lines TO billing_reader;
GRANT SELECT ON calendar TO billing_reader;
GRANT SELECT ON focus_charges TO billing_reader;
GRANT SELECT ON freshness TO billing_reader;
