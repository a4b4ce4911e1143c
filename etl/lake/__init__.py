"""A copy of the records as Apache Iceberg tables, for engines that read a lake.

schema      the tables: columns, partitions
catalogue   opens and creates them
plan        which days of which accounts a commit writes; pure
writer      writes the days of one commit, and checks them against the day ledger
conflicts   recognises commits that conflict with another writer, and retries them
expiry      removes old snapshots with their files, and files of no snapshot
"""
