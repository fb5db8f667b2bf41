# Repoint: `make demo` shows it, `make test` tests it. Both install what they need into .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# More than there are cores: tests wait for their databases, their broker and their clocks most of the time.
PROCESSES ?= 4
# An empty value is none: tests rewritten for their assertions are compiled once, also where images set it.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/pytest
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-quick lint check docs bench up down lock

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## install exactly what requirements/dev.lock names into .venv

# The stamp is written last, so that an interrupted installation is taken up again.
$(STAMP): requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Repoint needs Python 3.11 or newer")'
	@echo "installing requirements/dev.lock into $(VENV): a minute, the first time"
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/dev.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## the story end to end, on a database and a broker that start by themselves
	@$(BIN)/repoint demo

test: setup ## the tests, on real parts (testbed/ says which), in PROCESSES processes
	$(PYTEST) -n $(PROCESSES) --dist worksteal

test-quick: setup ## the tests that need no database and no broker: domain, schemas, api
	$(PYTEST) -n 2 -m "not parts" tests/domain tests/schemas tests/api

lint: setup ## lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test ## what CI runs

docs: setup ## write the tables of docs/ that are made from the program
	$(BIN)/python -m docs.tables

bench: setup ## throughput and latency, beside their baselines
	$(BIN)/python -m bench

up: ## Kafka, PostgreSQL, the worker and a sample receiver, in containers
	docker compose up --build --wait

down: ## stop what `make up` started, and forget its data
	docker compose down --volumes

lock: setup ## write requirements/*.lock anew from pyproject.toml
	$(LOCK) pyproject.toml -o requirements/runtime.lock
	$(LOCK) pyproject.toml --extra embedded --group dev -c requirements/runtime.lock -o requirements/dev.lock
	$(LOCK) --group build -c requirements/dev.lock -o requirements/build.lock
