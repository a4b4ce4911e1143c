"""Extract: complete days from the vendor's HTTP API, which has two sources of them, JSON and the CSV export.

From a window of days down to the connection:

    source           the days of a window, from JSON, the export or both
    cross_check      the comparison of JSON's days with the export
    json_source      complete days from JSON: requests, bisected until no answer can be truncated
    json_completeness  the evidence that a JSON answer is complete
    json_requests    requests with padded dates, or those that the vendor accepts instead
    json_answer      one answer, and the days that its request covers
    short_requests   single days by the shortest requests, where longer ones are truncated or rejected
    csv_source       complete days from the export, of which one serves all windows
    open_export      the export in use, and the days for which it, or a later one, is complete
    csv_requests     downloads with a padded start date, or the one that the vendor accepts instead
    csv_export       one download
    client           the vendor's calls, with retries
    transport        one HTTP request, with limits of time and size and without secrets in errors
    deadline         the limit of time for a whole request
    connection_errors  the errors of failed connections

Evidence of complete days, for both sources:

    completeness     the rules
    answer_evidence  the sizes of the answers of a run
    newest           the newest records of the account
    unlisted         those of them that no other call lists, on accepted days
    run_evidence     all of it, and what earlier runs found
    pagination       fields by which an answer claims to have more records than it lists
    claims           those of them that have another meaning
    padding          the dates that a request covers for certain
    source_days      the days of a window from one source: complete, unresolved, uncertain

Parsers, from bytes to raw records:

    json_parser      the answers of the JSON calls
    json_reader      a decoder of JSON that reads a stream
    csv_parser       the export
    csv_columns      the field of each of its columns

Records between extract and load:

    spool            records by day, on disk if there are many
    prefetch         the next windows, fetched in threads
    worker           the same in a process
"""
