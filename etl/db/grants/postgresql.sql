-- Three users for a database of billing-etl on PostgreSQL. As a superuser: psql -d DATABASE -f postgresql.sql, part by part.
-- A role without a password cannot log in with one: ALTER ROLE billing_reader PASSWORD '…', or see pg_hba.conf.

-- 1. Once, before the first migration.

CREATE ROLE billing_owner LOGIN;
CREATE ROLE billing_writer LOGIN;
CREATE ROLE billing_reader LOGIN;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO billing_owner;
GRANT USAGE ON SCHEMA public TO billing_writer, billing_reader;

-- The writer's rights come with each table that the owner makes.
ALTER DEFAULT PRIVILEGES FOR ROLE billing_owner IN SCHEMA public
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO billing_writer;
ALTER DEFAULT PRIVILEGES FOR ROLE billing_owner IN SCHEMA public
  GRANT USAGE ON SEQUENCES TO billing_writer;

-- 2. After the first migration by billing_owner (billing-etl migrate), and after one that brings new views.

REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM billing_writer;
GRANT SELECT ON
  billing, daily_spend, monthly_spend, delivery_by_operator, daily_channels, hourly_spend, restated_days,
  balance_proof, monthly_close, restatement_lines, calendar, focus_charges, freshness
  TO billing_reader;
-- What billing shows, as of an earlier time: with the rights of its owner, so only for those who may read billing.
GRANT EXECUTE ON FUNCTION billing_asof(timestamptz, date, date) TO billing_reader;
