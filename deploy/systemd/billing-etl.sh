#!/bin/sh
# billing-etl by hand, as root: the program with the user, the state, the settings and the secrets of the nightly unit.
# Installed as /usr/local/sbin/billing-etl. It works in /var/lib/billing-etl; files that it makes are there.
unit=billing-etl-by-hand-$$
how=--pipe
if [ -t 0 ] && [ -t 1 ] && [ -t 2 ]; then how=--pty; fi # so that Ctrl-C reaches it
exec systemd-run --quiet "$how" --wait --collect --unit="$unit" \
  --property=DynamicUser=yes --property=User=billing-etl \
  --property=StateDirectory=billing-etl --property=StateDirectoryMode=0700 \
  --property=WorkingDirectory=/var/lib/billing-etl --property=UMask=0077 \
  --property=EnvironmentFile=-/etc/billing-etl/billing-etl.env \
  --property=LoadCredential=billing_api_token:/etc/billing-etl/token \
  --property=LoadCredential=billing_database_url:/etc/billing-etl/database_url \
  --setenv=TMPDIR=/var/tmp \
  /opt/billing-etl/bin/billing-etl "$@"
