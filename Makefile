# Two commands on a fresh machine with Python 3.11 or newer: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help

.PHONY: help
help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/demo  ## Run the main job on SQLite against the sandbox
	@$(BIN)/billing-etl demo

.PHONY: test
test: $(VENV)/dev  ## Run all tests; those of a database that is not there are skipped
	@$(BIN)/python -m pytest -n auto --dist worksteal

.PHONY: mutants
mutants: $(VENV)/dev  ## Run mutation tests of the critical modules; takes an hour or two
	@sh tests/mutants.sh $(PYTHON) $(BIN)

.PHONY: kills
kills: $(VENV)/dev  ## Kill 3,000 runs per database at random times, and check that nothing was lost
	@KILLS=3000 $(BIN)/python -m pytest -n auto tests/crash/test_random_kills.py

.PHONY: fuzz
fuzz: $(VENV)/dev  ## Try a million hostile inputs on each parser; FUZZ_INPUTS and FUZZ_SEED select them
	@FUZZ_INPUTS=$${FUZZ_INPUTS:-1000000} FUZZ_SEED=$${FUZZ_SEED:-$$(date +%s)} $(BIN)/python -m pytest -n auto tests/fuzz

.PHONY: simulate
simulate: $(VENV)/dev  ## Run NIGHTS nights against simulated vendors, from SEED on; OPTIONS: see --help
	@PYTHONPATH=tests $(BIN)/python -m simulation --seed $${SEED:-$$(date +%s)} --nights $${NIGHTS:-100000} $(OPTIONS)

.PHONY: simulate-fixes
simulate-fixes: $(VENV)/dev  ## Remove the fix of each known bug, and check that the simulation finds the bug; OPTIONS: see --help
	@PYTHONPATH=tests $(BIN)/python -m simulation.without_fixes $(OPTIONS)

# Branch coverage of the modules that decide about rows, days and secrets, by their own tests, on SQLite.
COVERING = tests/unit/test_snapshots.py tests/unit/test_diff.py tests/unit/test_quarantine.py tests/unit/test_erased.py \
	tests/unit/test_log.py tests/integration/test_api.py \
	tests/integration/test_deep_sync.py tests/integration/test_load.py tests/integration/test_pseudonymise.py

.PHONY: coverage
coverage: $(VENV)/dev  ## Check that identity, merge, quarantine, ledger and redaction are tested in every branch
	@$(BIN)/python -m coverage run -m pytest -q $(COVERING) -k 'not postgresql and not mariadb'
	@$(BIN)/python -m coverage report

.PHONY: bench
bench: $(VENV)/dev .bench/ready  ## Compare the program with baselines and alternatives; OPTIONS='--big --exports --growth' for all benchmarks
	@VENV=$(VENV) .bench/bin/python -m bench $(OPTIONS)

.PHONY: superset
superset:  ## Zip bi/superset for the import into Superset
	@mkdir -p dist
	@cd bi && $(PYTHON) -m zipfile -c ../dist/billing-superset.zip superset
	@echo dist/billing-superset.zip

.PHONY: dbt
dbt: $(VENV)/dev .dbt/ready  ## Compile and run the package bi/dbt on PostgreSQL, with dbt in its own environment
	@$(BIN)/python -m pytest tests/integration/test_dbt.py

.PHONY: lake-readers
lake-readers: $(VENV)/dev .lake-readers/ready  ## Read a lake with DuckDB and ClickHouse, in their own environment
	@$(BIN)/python -m pytest tests/integration/test_lake_readers.py

.PHONY: dagster
dagster: $(VENV)/dev .dagster/ready  ## Run the Dagster jobs on SQLite, PostgreSQL and Celery, in their own environment
	@$(BIN)/python -m pytest tests/integration/test_dagster.py tests/integration/test_dagster_celery.py

.PHONY: airflow
airflow: $(VENV)/dev .airflow/ready  ## Run the example DAG with Airflow's LocalExecutor, in its own environment
	@$(BIN)/python -m pytest tests/integration/test_airflow.py

.PHONY: lint
lint: $(VENV)/dev  ## Check style and types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

.PHONY: dictionary
dictionary: $(VENV)/dev  ## Generate docs/dictionary.md and the sources of bi/dbt from the schema
	@$(BIN)/python -m etl.reports.data_dictionary > docs/dictionary.md
	@$(BIN)/python -m etl.reports.dbt_sources > bi/dbt/models/sources.yml

.PHONY: docs
docs: $(VENV)/dev  ## Build the documentation site into build/docs; every broken link is an error
	@$(BIN)/sphinx-build --fail-on-warning --keep-going --nitpicky --quiet --fresh-env --builder html docs build/docs
	@echo build/docs/index.html

.PHONY: man
man: $(VENV)/dev  ## Generate docs/billing-etl.1 from docs/man.md and the commands
	@$(BIN)/sphinx-build --fail-on-warning --quiet --fresh-env --tag man --builder man docs build/man
	@cp build/man/billing-etl.1 docs/

.PHONY: wheel
wheel: $(VENV)/dev  ## Build the wheel and test it in a clean environment
	@$(BIN)/python -m build --no-isolation --outdir dist >/dev/null
	@sh tests/smoke_wheel.sh $(PYTHON)

.PHONY: image
image:  ## Build the container image
	@docker build --file deploy/container/Dockerfile --tag billing-etl .

.PHONY: lock
lock: $(VENV)/dev  ## Update the lock files from pyproject.toml
	@sh requirements/lock.sh $(BIN)

.PHONY: audit
audit: $(VENV)/dev  ## Check locked packages for known vulnerabilities; OPTIONS='--vulnerability-service osv' uses OSV
	@sh requirements/audit.sh $(BIN) $(OPTIONS)

.PHONY: release
release: $(VENV)/dev  ## Build and check a release from a tagged commit, into dist/
	@.ci/release $(BIN) $(PYTHON)

.PHONY: clean
clean:  ## Remove generated files
	rm -rf $(VENV) .airflow .bench .dagster .dbt .lake-readers dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis .mutants .coverage billing-demo.db*

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; set PYTHON=") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/demo: requirements/run.lock pyproject.toml | $(VENV)/bin/python
	@echo "setting up $(VENV) (once)"
	@$(PIP) install --require-hashes --requirement requirements/run.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev: requirements/dev.lock pyproject.toml | $(VENV)/bin/python
	@echo "setting up $(VENV) for tests (once)"
	@$(PIP) install --require-hashes --requirement requirements/dev.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/demo

.dbt/ready: bi/dbt/requirements.txt
	@echo "setting up .dbt (once)"
	@$(PYTHON) -m venv .dbt
	@.dbt/bin/python -m pip --disable-pip-version-check --quiet install --requirement bi/dbt/requirements.txt
	@touch $@

.lake-readers/ready: requirements/lake-readers.txt
	@echo "setting up .lake-readers (once)"
	@$(PYTHON) -m venv .lake-readers
	@.lake-readers/bin/python -m pip --disable-pip-version-check --quiet install --requirement requirements/lake-readers.txt
	@touch $@

.dagster/ready: deploy/dagster/requirements.txt pyproject.toml
	@echo "setting up .dagster (once)"
	@$(PYTHON) -m venv .dagster
	@.dagster/bin/python -m pip --disable-pip-version-check --quiet install --requirement deploy/dagster/requirements.txt --editable '.[dagster,postgres]'
	@touch $@

.airflow/ready: deploy/airflow/requirements.txt pyproject.toml
	@echo "setting up .airflow (once)"
	@$(PYTHON) -m venv .airflow
	@.airflow/bin/python -m pip --disable-pip-version-check --quiet install --requirement deploy/airflow/requirements.txt --editable '.[postgres]'
	@touch $@

.bench/ready: bench/requirements.txt
	@echo "setting up .bench for the benchmark (once)"
	@$(PYTHON) -m venv .bench
	@.bench/bin/python -m pip --disable-pip-version-check --quiet install --requirement bench/requirements.txt
	@touch $@
