#!/bin/sh
# Ask whether what is locked has known vulnerabilities. 0: none is known. 1: some are. 69: nobody could say.
#
# pip-audit alone ends with 0 where it could look nothing up, and with --strict with 1, as if it had found something.
# It asks PyPI; options of its own are handed on, like: --vulnerability-service osv
set -u
bin=$1
shift
case " $* " in
*' --requirement '*) ;;
*) set -- "$@" --requirement requirements/run.lock --requirement requirements/dev.lock ;;
esac
said=$(mktemp)
trap 'rm -f "$said"' EXIT
answer=$("$bin/pip-audit" --strict --disable-pip --progress-spinner off --format json "$@" 2>"$said")
code=$?
case $answer in
'{"dependencies"'*) ;;
*)
  tail -n 1 "$said" >&2
  echo "not audited: the advisories cannot be reached, or not all of them. Nothing is known of what is locked." >&2
  exit 69
  ;;
esac
printf '%s\n' "$answer" | "$bin/python" -c '
import json, sys
audited = json.load(sys.stdin)["dependencies"]
for one in audited:
    for found in one["vulns"]:
        print(one["name"], one["version"], found["id"], "mended in", ", ".join(found["fix_versions"]) or "no version yet")
print(f"{len(audited)} packages audited")'
exit $code
