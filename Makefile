# Repoint: `make demo` shows it, `make test` tests it. Both install what they need into .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench up down lock

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

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

test: setup ## the tests, on real parts (tests/parts says which)
	$(BIN)/pytest

check: setup ## what CI runs: lint, format, types, import contracts, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) --no-print-directory test

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
