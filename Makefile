# The two commands of the README. Each does all the set-up it needs: only Python (>= 3.12), make and a
# package registry have to be there.
.PHONY: demo test lint types unit bench lock clean

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The first interpreter that is new enough, or nothing (then the rule below says what to do).
PYTHON := $(shell for p in python3 python3.13 python3.14 python3.12; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && { echo $$p; break; }; done)

demo: $(READY)
	$(BIN)/reamp demo

# mypy keeps one processor busy while the tests are collected.
test: lint
	@$(MAKE) --no-print-directory -j2 types unit

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

# Tests wait for the processes that they start; more than a few at once wait for each other (tests/conftest.py).
unit: $(READY)
	$(BIN)/python -m tests.suite -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# More than an hour, on a machine that has nothing else to do. `make bench BENCH="sidecar --quick"` for a part of it.
bench: $(READY)
	$(BIN)/python -m tests.benchmarks $(BENCH)

NATIVE := $(wildcard replayer/lanes/native/*.[ch]) replayer/lanes/build.py

$(READY): requirements.lock pyproject.toml loadtag/pyproject.toml Makefile $(NATIVE)
	@test -n "$(PYTHON)" || { echo "reamp needs Python 3.12 or newer as python3, python3.12, python3.13 or python3.14 on the PATH." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed: on Debian and Ubuntu, install the package python3-venv." >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/python -m ensurepip --upgrade >/dev/null
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e ./loadtag -e .
	$(BIN)/python -m replayer.lanes.build
	@touch $(READY)

# Brings every pinned version up to date. The lock names hashes and no download address.
lock: $(READY)
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--python-version 3.12 --all-extras --group dev --no-emit-package loadtag pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
