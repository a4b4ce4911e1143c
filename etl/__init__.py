"""Telefon-IP charges, from the vendor's HTTP API into your SQL database.

The flow of the data is in `pipeline`:

    plan -> fetch -> transform -> diff -> load -> reconcile -> finish

Packages, from the command line down to the database:

    cli/         commands: parse the command line, call a service, print
    config/      the settings: their declaration, sources, precedence and values
    services/    one module per use case: sync (with plan and run_writer), status, verify, check, balance, erase, purge,
                 accounts, numbering, migrate, backup, close, recent, run_history, rejected, first_settings,
                 and monitoring; they alone open engines, take locks and begin transactions
    extract/     the vendor's API: client, transport, retry, parsers, completeness of an answer
    transform/   records in canonical form, days as snapshots with a digest
    load/        the difference between a day and its stored rows: computed, checked, written
    db/          engine, schema, tables, views, locks, one module per family of tables;
                 dialects/ has one module per database
    checks/      the checks of `check`: files, privileges, servers, the vendor
    ops/         monitoring: status, lateness, metrics, heartbeat
    reports/     exports, the HTML report and the dashboard, read from the views
    lake/        the copy of the records as Apache Iceberg tables
    numbering/   the public numbering plan: its files and ranges
    sandbox/     a fake vendor for tests and demos; a separate program that imports nothing else
    orchestration/  Dagster jobs on top of `api`; nothing imports it
    api          the public Python API, for orchestrators and programs of your own

Modules that every package may import:

    model            records, answers, days: the values passed between packages
    day_totals       totals of a day, of its hours and channels
    run_counts       the outcome of a run, and its counts
    amounts          exact arithmetic with amounts of money
    changes          the difference between a day's stored rows and the vendor's records
    channels         the channel of a charge, by rules
    errors           the exceptions, one per next step of the operator
    exit_codes       the exit code of each error, and which of several outranks the others
    network          the route to an https host: proxy and trusted certificates
    date_ranges      ranges of days: lookback, gaps, splitting
    reconcile        reconciliation of the balance with the recorded spend
    timestamps       the formats of a time that the program reads
    spreadsheet      keys changed by a spreadsheet, restored
    unreadable_days  days of which an answer lists no readable record
    zones            conversion between local time and UTC
    pii              phone numbers: recognised, masked, redacted
    log              log lines, redaction of secrets
    signals          SIGINT and SIGTERM, deferred where a transaction is open
    atomic_file      atomic replacement of a file
    suggestions      the names closest to an unknown one
"""

__version__ = "0.1.0"
