-- The rights of each role on a ClickHouse server, for database tidewatch. Run it as an administrator, once, after
-- replacing the three passwords. Rights name tables one by one: a table that is not listed is nobody's.

-- ingest: `tidewatch worker record`. It inserts, looks at the columns that are there, and reads the tables' version.
-- The tables are there before: an administrator starts the record worker once, or runs the DDL of docs/tables.md.
CREATE USER IF NOT EXISTS tidewatch_ingest IDENTIFIED WITH sha256_password BY 'change-me-1';
GRANT INSERT ON tidewatch.interactions TO tidewatch_ingest;
GRANT INSERT ON tidewatch.window_summaries TO tidewatch_ingest;
GRANT INSERT ON tidewatch.anomalies TO tidewatch_ingest;
GRANT INSERT ON tidewatch.incidents TO tidewatch_ingest;
GRANT INSERT ON tidewatch.alerts TO tidewatch_ingest;
GRANT INSERT ON tidewatch.dead_letters TO tidewatch_ingest;
GRANT INSERT ON tidewatch.changes TO tidewatch_ingest;
GRANT SHOW TABLES, SHOW COLUMNS ON tidewatch.* TO tidewatch_ingest;
GRANT SELECT ON tidewatch.tidewatch_meta TO tidewatch_ingest;

-- reader: analysts and `tidewatch sql`, which asks for readonly = 1 itself. The profile bounds what a query may cost.
CREATE SETTINGS PROFILE IF NOT EXISTS tidewatch_reader SETTINGS max_execution_time = 30 MAX 30, max_memory_usage = 2147483648 MAX 2147483648;
CREATE USER IF NOT EXISTS tidewatch_reader IDENTIFIED WITH sha256_password BY 'change-me-2' SETTINGS PROFILE 'tidewatch_reader';
GRANT SELECT ON tidewatch.interactions TO tidewatch_reader;
GRANT SELECT ON tidewatch.window_summaries TO tidewatch_reader;
GRANT SELECT ON tidewatch.anomalies TO tidewatch_reader;
GRANT SELECT ON tidewatch.incidents TO tidewatch_reader;
GRANT SELECT ON tidewatch.alerts TO tidewatch_reader;
GRANT SELECT ON tidewatch.dead_letters TO tidewatch_reader;
GRANT SELECT ON tidewatch.changes TO tidewatch_reader;
GRANT SELECT ON system.table_functions TO tidewatch_reader;

-- admin: makes and changes the tables, and erases rows.
CREATE USER IF NOT EXISTS tidewatch_admin IDENTIFIED WITH sha256_password BY 'change-me-3';
GRANT CREATE DATABASE, CREATE TABLE, DROP TABLE, ALTER, OPTIMIZE, SHOW, SELECT, INSERT ON tidewatch.* TO tidewatch_admin;
