"""Telefon-IP charges, from the vendor's HTTP API into your SQL database.

One way of the data, told by `pipeline` on one screen:

    plan -> fetch -> transform -> diff -> load -> reconcile -> finish

Packages, from the command line down to the database:

    cli/         verbs: parse the command line, call one service, print
    config/      the settings: their declaration, sources, precedence and values
    services/    one module a use case: sync, verify, balance, erase, purge, accounts, numbering, backup, recent
    extract/     the vendor's API: client, transport, retry, parsers, completeness of an answer
    transform/   records in one canonical form, days as snapshots with a digest
    load/        the difference between a day and its stored rows, and how it is written
    db/          engine, schema, tables, views, locks, one module a family of tables
    checks/      what `check` tries: folders, privileges, servers, the vendor
    ops/         status, lateness, metrics, heartbeat: for monitoring
    reports/     exports, the HTML report and the dashboard, read from the views
    numbering/   the public numbering plan: its files and ranges
    sandbox/     a vendor for tests and demos; another program, which imports nothing of the rest

Modules that every package may import:

    model        records, date ranges, days, counts: the values passed between packages
    changes      the difference between a day's stored rows and the vendor's records
    errors       the exceptions, named for what to do next
    date_ranges  windows of days: lookback, gaps, splitting
    reconcile    the balance compared with the spend on record
    spreadsheet  keys that a spreadsheet has touched, restored
    unreadable   days of which a listing shows no readable record
    zones        local times and UTC
    pii          phone numbers: recognised, masked, redacted
    log          log lines, redaction of secrets
    signals      SIGINT and SIGTERM, deferred where a transaction is open
    atomic_file  a file that appears whole or not at all
"""

__version__ = "0.1.0"
