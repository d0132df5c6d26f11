# Every target sets the environment up by itself and does nothing twice.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export DO_NOT_TRACK := 1
export FEAST_USAGE := False
export BENTOML_DO_NOT_TRACK := True

.PHONY: help demo up test check bench lock clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

demo: $(READY) ## raw flights become a model that answers, drifts, is retrained and replaced
	@$(BIN)/mlops demo

up: $(READY) ## web UI, daemon, prediction service and MLflow, until Ctrl-C
	@$(BIN)/mlops up

test: $(READY) ## all tests
	@$(BIN)/python -m pytest -q

check: $(READY) ## lint, types, import arrows, definitions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dg check defs
	$(BIN)/dagster definitions validate

bench: $(READY) ## every figure the project claims, as a ratio in one run
	@for bench in tests/benchmarks/bench_*.py; do $(BIN)/python $$bench || exit 1; done

lock: ## pin every dependency anew
	$(PYTHON) -m venv $(VENV)/lock && $(VENV)/lock/bin/pip install -q uv
	UV_FIND_LINKS="$$PIP_FIND_LINKS" $(VENV)/lock/bin/uv pip compile -q --python 3.11 --extra dev --no-header --no-annotate pyproject.toml \
		| sed -E 's/^(torch==[0-9.]+)\+.*/\1/' > requirements.lock.new && mv requirements.lock.new requirements.lock

clean: ## forget the environment and everything the platform stored
	rm -rf $(VENV) .mlops

# pip's own configuration and PIP_FIND_LINKS pass through; only its notes about absent folders are dropped.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "Python 3.11 is needed; found: $$($(PYTHON) --version 2>&1). Install it, or run: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up $(VENV) (a few minutes, once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -q -r requirements.lock 2>&1 | { grep -v 'is ignored: it is neither a file nor a directory' || true; }
	@$(BIN)/pip install -q --no-deps -e . 2>&1 | { grep -v 'is ignored: it is neither a file nor a directory' || true; }
	@$(BIN)/mlops --help > /dev/null && touch $@
