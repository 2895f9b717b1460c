# Two commands do everything: `make demo` watches a whole silent trial, `make test` passes the tests.
# Both set up what they need from a clean checkout: git, make and Python 3.11 to 3.13.

SHELL := /bin/bash
.SHELLFLAGS := -eo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || echo python3)
ENVIRONMENT := .venv
BIN := $(ENVIRONMENT)/bin
READY := $(ENVIRONMENT)/.ready
ARGS ?=

# Without compiled modules each of Airflow's processes starts ten seconds later.
unexport PYTHONDONTWRITEBYTECODE

# What each command needs of the system; installed by apt where that is possible, else named plainly.
PACKAGES_DEMO := postgresql
PACKAGES_TEST := postgresql chromium dcmtk orthanc orthanc-dicomweb invesalius-examples

.PHONY: help
help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): requirements.lock requirements-bootstrap.lock pyproject.toml
	@echo "Creating the environment with $(PYTHON) from the lock file ..."
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
	  { echo "Python 3.11, 3.12 or 3.13 is needed; set PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(ENVIRONMENT)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-bootstrap.lock
	@$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock requirements-bootstrap.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: environment
environment: $(READY) ## Create the Python environment from the hashed lock file

.PHONY: packages-demo packages-test
packages-demo:
	@deploy/system-packages $(PACKAGES_DEMO)
packages-test:
	@deploy/system-packages $(PACKAGES_TEST)

.PHONY: demo
demo: $(READY) packages-demo ## Watch a whole silent trial in minutes (ARGS=--exit stops by itself)
	@$(BIN)/python -m shadow demo $(ARGS)

.PHONY: test
test: $(READY) packages-test check ## Everything: checks, then what is slow or needs real servers, then a whole trial
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "(server or slow) and not trial" $(ARGS)
	@$(BIN)/python -m pytest -q -m trial $(ARGS)

.PHONY: check
check: $(READY) ## Lint, types, import contracts, unit tests: within two minutes
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache 2>&1 | tail -n 12
	@! grep -nE 'https?://|index-url|find-links' requirements.lock requirements-bootstrap.lock
	@$(BIN)/python -m pytest -q -n 2 -m "not server and not slow and not trial"

.PHONY: simulate
simulate: $(READY) ## The statistics' operating characteristics at full size
	@SHADOW_SIMULATION=full $(BIN)/python -m pytest -q -n 2 tests/simulation

.PHONY: format
format: $(READY) ## Format the code and mend what ruff can mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: lock
lock: $(READY) ## Resolve requirements.in anew into the hashed lock files
	@$(BIN)/uv pip compile --quiet requirements.in --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header -o requirements.lock
	@echo uv | $(BIN)/uv pip compile --quiet - --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header -o requirements-bootstrap.lock
	@! grep -nE 'https?://|index-url|find-links' requirements.lock requirements-bootstrap.lock

.PHONY: clean
clean: ## Remove the environment and caches; never var/
	@rm -rf $(ENVIRONMENT) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
