#!/bin/sh
# Mutation tests of the modules that decide about rows, days and secrets, one mutation at a time. The script works on a
# copy of the repository and installs the tool into its own environment. It takes an hour or two.
#
#   sh tests/mutants.sh PYTHON BIN [MODULE…]     BIN contains the project's python; all modules by default
set -eu
python=$1
bin=$(cd "$2" && pwd)
shift 2
folder=.mutants
mkdir -p "$folder"
[ -x "$folder/tool/bin/cosmic-ray" ] || {
    "$python" -m venv "$folder/tool"
    "$folder/tool/bin/python" -m pip --disable-pip-version-check --quiet install cosmic-ray==8.7.0
}
tool=$(cd "$folder/tool/bin" && pwd)
rm -rf "$folder/copy"
git clone --quiet . "$folder/copy"

for module in ${*:-snapshots log changes diff plausibility run_store days}; do
    case $module in
    snapshots) path=etl/transform/snapshots.py tests="tests/unit/test_snapshots.py" ;;
    log) path=etl/log.py tests="tests/unit/test_log.py tests/unit/test_pii.py" ;;
    changes) path=etl/changes.py tests="tests/unit/test_diff.py tests/unit/test_erased.py" ;;
    diff) path=etl/load/diff.py tests="tests/unit/test_diff.py tests/unit/test_erased.py" ;;
    plausibility) path=etl/load/plausibility.py tests="tests/unit/test_diff.py" ;;
    run_store | days) path=etl/db/$module.py tests="tests/integration/test_load.py -k 'not postgresql and not mariadb'" ;;
    esac
    # Type annotations are not executed, so no test can detect a change of a `|` in them.
    cat >"$folder/$module.toml" <<END
[cosmic-ray]
module-path = "$path"
timeout = 300.0
excluded-modules = []
test-command = "env CI=1 PYTHONDONTWRITEBYTECODE=1 $bin/python -m pytest -x -q -p no:cacheprovider $tests"

[cosmic-ray.distributor]
name = "local"

[cosmic-ray.filters.operators-filter]
exclude-operators = ["core/ReplaceBinaryOperator_BitOr_.*"]
END
    rm -f "$folder/$module.sqlite"
    (
        cd "$folder/copy"
        "$tool/cosmic-ray" init "../$module.toml" "../$module.sqlite"
        "$tool/cr-filter-operators" "../$module.sqlite" "../$module.toml"
        "$tool/cosmic-ray" exec "../$module.toml" "../$module.sqlite"
    )
    echo "== $module"
    "$tool/cr-report" --show-diff --surviving-only "$folder/$module.sqlite"
done
