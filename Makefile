# The commands of the README. Each sets itself up in .venv and needs only Python 3.11 or newer and a package index.

PYTHON ?= python3
BIN := .venv/bin
RUNTIME := .venv/.runtime
DEV := .venv/.dev

.PHONY: help setup demo test check audit unit bench faults backtest docs lock clean
.DEFAULT_GOAL := help

help:  ## Show the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

.venv/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Tidewatch needs Python 3.11 or newer, found " + sys.version.split()[0] + "; set PYTHON=")'
	@$(PYTHON) -m venv .venv

$(RUNTIME): requirements.lock pyproject.toml | .venv/pyvenv.cfg
	@echo "Installing into .venv ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(DEV): requirements-dev.lock $(RUNTIME)
	@echo "Installing the development tools into .venv ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

setup: $(RUNTIME)  ## Make .venv with the tidewatch command

demo: $(RUNTIME)  ## An incident on a real stream, noticed and explained, in two minutes
	@$(BIN)/tidewatch demo

check: $(DEV)  ## Format, lint, types, import contracts, generated docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: $(DEV)  ## Known vulnerabilities of the locked dependencies (needs pypi.org; exit 2: could not look)
	$(BIN)/python -m tests.support.audit

unit: $(DEV)  ## The fast tests: no broker, no worker processes
	$(BIN)/pytest -q tests/unit tests/contracts tests/golden

test: check  ## Everything that must hold before a change lands
	$(BIN)/pytest

bench: $(DEV)  ## Measure against the marks; prints a table and writes bench-results.json
	$(BIN)/python -m tests.benchmarks

faults: $(DEV)  ## Break it on purpose, at full length (hours; ONLY=name,... for some); writes docs/faults.json
	$(BIN)/python -m tests.recovery $(if $(ONLY),--only $(ONLY))

backtest: $(DEV)  ## Score detection on the whole suite (an hour or more); writes backtest-results.json and docs/backtest.json
	$(BIN)/tidewatch backtest --json backtest-results.json
	$(BIN)/python -m tests.support.backtest backtest-results.json

docs: $(DEV)  ## Rewrite the generated parts of the docs
	$(BIN)/python -m tests.support.generate_docs

lock:  ## Pin the dependencies anew (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header \
		pyproject.toml -o requirements.lock --quiet
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--group dev pyproject.toml -o requirements-dev.lock --quiet

clean:  ## Remove what the commands made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache bench-results.json backtest-results.json
