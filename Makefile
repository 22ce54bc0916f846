# `make` alone lists what there is. The servers' data are in .lab/ (or where PYDBSYNC_LAB says).
PYTHON ?= python3
VENV_PYTHON := .venv/bin/python
export PYTHON

# Tests wait for servers half of their time: two processes a core, each with servers of its own. Files begin in their
# order, those that take long, of tests/e2e, first.
WORKERS = $(shell n=$$(($$(nproc) * 2)); echo $$((n < 6 ? n : 6)))

# Compiled once, in the lab's folder, for all processes of the tests and what they start.
BYTECODE = $(abspath $(or $(PYDBSYNC_LAB),.lab))/bytecode
COMPILED = PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX=$(BYTECODE)

# RERUNS=1 tries what failed once more, and names it: for a machine that others use too. Nothing is tried again by default.
PYTEST = $(COMPILED) $(VENV_PYTHON) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(if $(RERUNS),--reruns $(RERUNS) -rR)
# Of long matrices a fixed part runs always, the rest by `make test-long`: see docs/delivery.md.
QUICK = -m "not long"
LONG = -m long

.DEFAULT_GOAL := help
.PHONY: help demo ready test test-long test-mysql test-opensearch check lint torture bench rehearsal venv lab-up lab-down lab-status monitoring packages clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

demo: venv packages  ## replay a recorded stream on a private MariaDB and compare
	@$(VENV_PYTHON) -m lab.demo

# The servers start while the tests are compiled.
ready: venv packages monitoring
	@[ -e $(BYTECODE)/.complete ] || { $(COMPILED) $(VENV_PYTHON) -m pytest --collect-only -q >/dev/null && touch $(BYTECODE)/.complete; } & \
	$(PYTHON) -m lab up && wait

test: ready  ## tests: unit, integration, end to end; on MySQL too where there is one
	$(PYTEST) $(QUICK) $(ARGS)
	@if [ -z "$(ARGS)" ] && $(PYTHON) -m lab mysql; then $(MAKE) -s test-mysql; fi

test-mysql: ready  ## the second leg alone: what runs with MySQL as source and target
	PYDBSYNC_TEST_LEG=mysql $(PYTEST) $(QUICK) $(or $(ARGS),tests/e2e tests/integration)

test-long: ready  ## the rest of the long matrices, of which `make test` has a part
	$(PYTEST) $(LONG) $(ARGS)
	@if [ -z "$(ARGS)" ] && $(PYTHON) -m lab mysql; then \
	  PYDBSYNC_TEST_LEG=mysql $(PYTEST) $(LONG) tests/e2e tests/integration; fi

test-opensearch: venv lab-up  ## what runs with an OpenSearch, PYDBSYNC_OPENSEARCH=http://host:port, whose indices are removed
	@[ -n "$$PYDBSYNC_OPENSEARCH" ] || { echo "test-opensearch: PYDBSYNC_OPENSEARCH must say where there is one" >&2; exit 2; }
	$(VENV_PYTHON) -m pytest $(if $(RERUNS),--reruns $(RERUNS) -rR) $(or $(ARGS),tests/integration/test_opensearch.py tests/e2e/test_torture_opensearch.py)

check: lint  ## ruff, mypy and the unit tests, no server needed
	$(VENV_PYTHON) -m pytest -q -n $$(nproc) tests/unit

lint: venv  ## ruff and mypy alone
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m mypy

torture: venv lab-up  ## faults at random moments under load, then a comparison row by row
	$(VENV_PYTHON) -m tests.torture $(ARGS)

bench: venv lab-up  ## the measurements
	@$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@sh benchmarks/install.sh
	$(VENV_PYTHON) -m benchmarks $(ARGS)

rehearsal: venv lab-up  ## a whole migration, with cut-over and way back
	$(VENV_PYTHON) -m lab.rehearsal $(ARGS)

venv: .venv/.complete  ## the virtual environment in .venv

.venv/.complete: pyproject.toml
	@sh lab/install.sh python
	$(PYTHON) -m venv .venv
	$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

packages:
	@sh lab/install.sh servers

monitoring:
	@sh lab/install.sh monitoring

lab-up: packages  ## private MariaDB (two) and RabbitMQ, installed where missing, started where down
	@$(PYTHON) -m lab up

lab-down:  ## stop them
	@$(PYTHON) -m lab down

lab-status:  ## where they are
	@$(PYTHON) -m lab status

clean: lab-down  ## stop the servers, remove .lab, .venv and caches
	rm -rf .lab .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build ./*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
