#!/bin/sh
# Install the newest wheel into an empty environment and run the main commands with it, in another folder.
set -eu
python=${1:-python3}
here=$(pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
wheel=$(ls -t "$here"/dist/*.whl | head -n 1)
"$python" -m venv "$folder/venv"
pip="$folder/venv/bin/python -m pip --disable-pip-version-check --quiet"
$pip install --require-hashes --requirement "$here/requirements/run.lock"
$pip install --no-deps "$wheel"
mkdir "$folder/empty"
cd "$folder/empty"
"$folder/venv/bin/billing-etl" --version
"$folder/venv/bin/billing-etl" demo > "$folder/demo.txt" || { cat "$folder/demo.txt"; exit 1; }
grep -q 'The second night' "$folder/demo.txt"
test -s "$folder/venv/share/man/man1/billing-etl.1"
BILLING_DATABASE_URL=sqlite:///other.db "$folder/venv/bin/billing-etl" migrate
BILLING_DATABASE_URL=sqlite:///billing-demo.db "$folder/venv/bin/billing-etl" status --json > "$folder/status.json"
"$folder/venv/bin/python" -c "import json, sys; assert json.load(sys.stdin)['accounts'][0]['records'] > 1000" < "$folder/status.json"
# The wheel has the templates, the style sheet and the script of the report; without the extra, the error names it.
"$folder/venv/bin/python" -c "import pathlib, etl.reports.html as html; [pathlib.Path(html.__path__[0], name).read_bytes() for name in ('page.html.j2', 'tables.html.j2', 'page.css', 'page.js')]"
code=0
"$folder/venv/bin/billing-etl" report --out page.html 2> "$folder/report.txt" || code=$?
test "$code" = 78
grep -q "pip install 'billing-etl\[report\]'" "$folder/report.txt"
echo "the wheel works: $(basename "$wheel")"
