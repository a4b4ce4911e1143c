#!/bin/sh
# Renew the lock files: names, versions and hashes for every supported Python and platform, no address of any index.
set -eu
bin=$1
compile() {
  output=$1
  shift
  "$bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-emit-find-links --no-header --no-annotate --upgrade "$@" --output-file "$output" pyproject.toml
}
compile requirements/run.lock --group build
# Without the extra `dagster`, which has an environment of its own.
compile requirements/dev.lock --extra postgres --extra mysql --extra parquet --extra excel --extra lake --extra report \
  --extra dashboard --group build --group test --group lint --group docs --group deploy --group release
# What runs every night on a server or in a container: no tool to build with, both servers' drivers.
compile requirements/server.lock --extra postgres --extra mysql
