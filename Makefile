# Every target sets the environment up by itself, once: .venv from requirements.lock, the data of requirements-data.txt,
# then this package in place.
# Python 3.11, 3.12 or 3.13 and make are all that must be there before.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo up test test-slow check bench bento format lock clean

BIN := .venv/bin
# uv stores no bytecode, and a training imports 7,800 modules: a process that compiles them anew takes 8 s of CPU more.
unexport PYTHONDONTWRITEBYTECODE
READY := .venv/.ready
IS_SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
# pip warns about every extra index that lacks a package.
QUIET := 2> >(grep -v "^WARNING: Location .* is ignored" >&2 || true)
# uv installs in 15 s what takes pip 236 s. It does not read pip's configuration, so this passes the index and the
# wheel folders on, where they are set.
PIP_SETTING = $(BIN)/python -m pip config get
UV_INSTALL = UV_INDEX_URL="$${UV_INDEX_URL:-$${PIP_INDEX_URL:-$$($(PIP_SETTING) global.index-url 2>/dev/null || true)}}" \
    UV_FIND_LINKS="$${UV_FIND_LINKS:-$${PIP_FIND_LINKS:-$$($(PIP_SETTING) global.find-links 2>/dev/null || true)}}" \
    $(BIN)/uv pip install --python $(BIN)/python

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

demo: $(READY) ## the whole loop on real data, with a short report
	@$(BIN)/mlops demo

up: $(READY) ## Dagster, prediction service, MLflow and Evidently together; one Ctrl-C ends them
	@exec $(BIN)/mlops up

# worksteal keeps neighbours on one core, so that a module's fixtures are set up once.
test: $(READY) ## the tests, in random order, on every core
	@$(BIN)/python -m pytest -q -m "not slow" --numprocesses=auto --dist=worksteal

test-slow: $(READY) ## the tests that start platforms, servers or several processes, or simulate for minutes, in their order
	@$(BIN)/python -m pytest -q -p no:randomly -m slow --numprocesses=auto --dist=loadfile \
	    --no-loadscope-reorder

check: $(READY) ## lint, format, types, import rules, definitions
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --project pyproject.toml
	$(BIN)/lint-imports --no-logo
	DAGSTER_DISABLE_TELEMETRY=1 $(BIN)/dg check defs
	DAGSTER_DISABLE_TELEMETRY=1 $(BIN)/dagster definitions validate

# The code is 1 when a bound is broken and 2 when none is but the machine was too busy to tell.
bench: $(READY) ## measurements, printed as ratios; fails when a bound is broken
	@code=0; broken=; for bench in tests/benchmarks/bench_*.py; do echo "== $$bench"; start=$$(date +%s); \
	    $(BIN)/python "$$bench" || { last=$$?; broken="$$broken $$bench ($$last)"; [ $$code = 1 ] || code=$$last; }; \
	    echo "== $$(($$(date +%s) - start)) s"; \
	done; echo "== not within its bounds:$${broken:- nothing}"; exit $$code

bento: $(READY) ## build dist/predictions.bento and try it in a clean environment (some minutes)
	@$(BIN)/python -m tests.integration.bento_trial dist/predictions.bento
	@echo "dist/predictions.bento runs with its own requirements alone; deploy/README.md describes how to run it"

format: $(READY) ## sort imports and format the code
	@$(BIN)/ruff check --fix --quiet
	@$(BIN)/ruff format --quiet

# torch's CPU build has the version 2.13.0+cpu; the lock names 2.13.0, which both builds satisfy. The CUDA packages of the
# other build are pinned by torch itself.
COMPILE = UV_FIND_LINKS="$${UV_FIND_LINKS:-$${PIP_FIND_LINKS:-}}" $(BIN)/uv pip compile -q --universal --python-version 3.11 \
    --no-header --no-annotate --upgrade
lock: $(READY) ## resolve requirements.lock and deploy/requirements.txt again from pyproject.toml
	@$(COMPILE) pyproject.toml --extra dev -o requirements.lock.new
	@sed -E "s/^(torch==[0-9.]+)\+.*/\1/; /^(nvidia-[^m]|cuda-|triton==)/d; /sys_platform == 'win32'/d" \
	    requirements.lock.new > requirements.lock
	@$(COMPILE) --group server -c requirements.lock -o deploy/requirements.txt
	@rm requirements.lock.new; echo "requirements.lock: $$(wc -l < requirements.lock) packages"

clean: ## remove caches and the local platform (.mlops), keep .venv
	@rm -rf .mlops .pytest_cache .ruff_cache .import_linter_cache .hypothesis .tmp_dagster_home_* build dist *.egg-info
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

$(READY): requirements.lock requirements-data.txt pyproject.toml
	@if ! $(BIN)/python -c '$(IS_SUPPORTED)' 2>/dev/null; then \
	    for python in python3.11 python3.12 python3.13 python3 python; do \
	        if command -v $$python >/dev/null && $$python -c '$(IS_SUPPORTED)' 2>/dev/null; then break; fi; python=; \
	    done; \
	    if [ -z "$$python" ]; then \
	        echo "No Python 3.11, 3.12 or 3.13 found on PATH. Install one (for example with pyenv), then run make again." >&2; exit 1; \
	    fi; \
	    echo "Creating .venv with $$($$python --version)"; \
	    $$python -m venv --clear .venv; \
	fi
	@$(BIN)/python -m pip install -q --disable-pip-version-check "$$(grep '^uv==' requirements.lock)" $(QUIET)
	@echo "Installing $$(grep -c == requirements.lock) packages from requirements.lock into .venv"
	@$(UV_INSTALL) -r requirements.lock 2>&1 | sed '/^ [+~-] /d'
	@$(UV_INSTALL) -q --no-deps -r requirements-data.txt -e .
	@touch $(READY)
