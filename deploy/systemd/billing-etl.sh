#!/bin/sh
# billing-etl run manually by root, with the user, the state, the settings and the secrets of the nightly unit.
# Installed as /usr/local/sbin/billing-etl. The current folder is /var/lib/billing-etl; files are created there.
unit=billing-etl-manual-$$
how=--pipe
if [ -t 0 ] && [ -t 1 ] && [ -t 2 ]; then how=--pty; fi # so that Ctrl-C reaches the program
exec systemd-run --quiet "$how" --wait --collect --unit="$unit" \
  --property=DynamicUser=yes --property=User=billing-etl \
  --property=StateDirectory=billing-etl --property=StateDirectoryMode=0700 \
  --property=WorkingDirectory=/var/lib/billing-etl --property=UMask=0077 \
  --property=EnvironmentFile=-/etc/billing-etl/billing-etl.env \
  --property=LoadCredential=billing_api_token:/etc/billing-etl/token \
  --property=LoadCredential=billing_database_url:/etc/billing-etl/database_url \
  --setenv=TMPDIR=/var/tmp \
  /opt/billing-etl/bin/billing-etl "$@"
