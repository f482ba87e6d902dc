# `make demo` and `make test` need nothing but Python 3.11 or later and make.

PYTHON ?= python3
VENV ?= .venv
BACKEND ?= asyncio
BIN := $(VENV)/bin

OTHER_VERSIONS := 3.12 3.13

BENCH_VENV := .venv-bench

.PHONY: help demo test test-others lint bench bench-quick clean

help:
	@echo "make demo [BACKEND=trio]   agents against a failing server, without and with circuits"
	@echo "make test                  the test suite"
	@echo "make test-others           the same on Python $(OTHER_VERSIONS), where they are found"
	@echo "make lint                  ruff, mypy, pyright and the architecture test"
	@echo "make bench-quick           speed and behaviour against the peers, in a minute"
	@echo "make bench                 the same in full, in under ten"
	@echo "make clean                 remove what these commands have made"

# The environment is out of date when pyproject.toml has changed since it was made.
$(VENV)/.up-to-date: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[demo]" --group test --group lint
	touch $@

demo: $(VENV)/.up-to-date
	$(BIN)/python -m supervisor demo --backend $(BACKEND)

test: $(VENV)/.up-to-date
	$(BIN)/python -m coverage run -m pytest
	$(BIN)/python -m coverage report

# On the PATH, or among pyenv's: its shims may be there although the version is not active.
test-others:
	@for version in $(OTHER_VERSIONS); do \
	    for python in python$$version "$(HOME)"/.pyenv/versions/$$version.*/bin/python3; do \
	        if "$$python" -c "" 2>/dev/null; then \
	            echo "Python $$version: $$python"; \
	            $(MAKE) test PYTHON="$$python" VENV=.venv-$$version || exit 1; \
	            break; \
	        fi; \
	    done; \
	done

lint: $(VENV)/.up-to-date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m pytest -q tests/test_architecture.py

# An environment of its own: some peers bring packages that do not belong beside the tests.
$(BENCH_VENV)/.up-to-date: pyproject.toml
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[demo]" --group bench
	touch $@

bench: $(BENCH_VENV)/.up-to-date
	$(BENCH_VENV)/bin/python -m benchmarks

bench-quick: $(BENCH_VENV)/.up-to-date
	$(BENCH_VENV)/bin/python -m benchmarks --quick

clean:
	rm -rf $(VENV) .venv-* .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache demo.png
