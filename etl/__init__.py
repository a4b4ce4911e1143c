"""Telefon-IP charges, from the vendor's HTTP API into your SQL database.

The way of the data, one direction only (`pipeline` tells it on one screen):

    config → windows → extract → transform → load → views

`windows` plans which days to ask for, `extract` asks, `transform` gives every record one canonical form and
an identity, `load` compares whole days with the ledger and writes the difference. `audit` looks and writes nothing.
`numbering` brings in the public numbering plan, `bi` is for who reads figures.
`runs` is a run from its lock to its last line, `metrics` and `heartbeat` tell others how it went. `accounts`,
`retention` and `backup` care for a database that is kept for years. `cli` holds the verbs, `services` the use cases,
`console` and `documents` say what came of them, `process` ends the process, `sandbox` imitates the vendor. `model` and
`errors` are what all of them speak; `unreadable` names the days of which a listing shows no readable record, and
`spreadsheet` undoes what spreadsheets do to a phone or code, for `extract` and `transform` alike.
"""

__version__ = "0.1.0"
