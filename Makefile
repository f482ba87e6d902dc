# `make demo` and `make test` need nothing but Python 3.11 or later and make.

PYTHON ?= python3
VENV ?= .venv
BACKEND ?= asyncio
BIN := $(VENV)/bin

OTHER_VERSIONS := 3.12 3.13

BENCH_VENV := .venv-bench
MUTATE_VENV := .venv-mutate
SITE_VENV := .venv-site

# How long the proofs search, and how long the soak lasts.
EFFORT ?= 45
MINUTES ?= 10

# How many processes share the tests.
JOBS ?= auto

.PHONY: help demo test test-plain test-others lint generated prove soak mutate bench bench-quick \
    pictures site clean

help:
	@echo "make demo [BACKEND=trio]   agents against a failing server, without and with circuits"
	@echo "make test                  the test suite"
	@echo "make test-others           the same, without coverage, on Python $(OTHER_VERSIONS), where they are found"
	@echo "make lint                  ruff, mypy, pyright and the architecture test"
	@echo "make generated             what follows from the fields of a policy: keywords, settings, tables"
	@echo "make prove [EFFORT=45]     the randomised proofs, so many times as long as in make test"
	@echo "make soak [MINUTES=10]     10,000 tasks, 1,000 circuits, outages, cancels and crashes"
	@echo "make mutate                how many faults put into the core the tests would find"
	@echo "make bench-quick           speed and behaviour against the peers, in a minute"
	@echo "make bench                 the same in full, in under ten"
	@echo "make pictures              what policies do on traces: docs/images/policies-*.svg"
	@echo "make site                  the documentation as a site in site/, with every link checked"
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

# The proofs repeat the same few lines very often; counting those would take most of the time.
test: $(VENV)/.up-to-date
	$(BIN)/python -m pytest -n $(JOBS) tests/proofs
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -n $(JOBS) --ignore=tests/proofs
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

# The proofs that only compute, or play what has been recorded, are the same on every version.
test-plain: $(VENV)/.up-to-date
	$(BIN)/python -m pytest -n $(JOBS) --ignore=tests/proofs
	$(BIN)/python -m pytest -n $(JOBS) tests/proofs/test_cancellation_storm.py tests/proofs/test_crashes.py

# On the PATH, or among pyenv's: its shims may be there although the version is not active.
test-others:
	@for version in $(OTHER_VERSIONS); do \
	    for python in python$$version "$(HOME)"/.pyenv/versions/$$version.*/bin/python3; do \
	        if "$$python" -c "" 2>/dev/null; then \
	            echo "Python $$version: $$python"; \
	            $(MAKE) test-plain PYTHON="$$python" VENV=.venv-$$version || exit 1; \
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

generated: $(VENV)/.up-to-date
	$(BIN)/python -m tests.support.generated

prove: $(VENV)/.up-to-date
	$(BIN)/python -m pytest -n $(JOBS) tests/proofs tests/behaviour/test_schedules.py tests/guard/test_threads.py --effort $(EFFORT)

soak: $(VENV)/.up-to-date
	$(BIN)/python -m tests.proofs.soak --minutes $(MINUTES) --backend $(BACKEND)

# An environment of its own, like that of the benchmarks. The log of the run is long.
$(MUTATE_VENV)/.up-to-date: pyproject.toml
	$(PYTHON) -m venv $(MUTATE_VENV)
	$(MUTATE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(MUTATE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable . --group test --group mutate
	touch $@

mutate: $(MUTATE_VENV)/.up-to-date
	$(MUTATE_VENV)/bin/mutmut run --max-children 2 > mutants.log 2>&1 || (tail -40 mutants.log; exit 1)
	$(MUTATE_VENV)/bin/mutmut results
	$(MUTATE_VENV)/bin/mutmut export-cicd-stats
	cat mutants/mutmut-cicd-stats.json

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

# Each file has its command in its first line.
pictures: $(VENV)/.up-to-date
	@for file in docs/policies/*.toml; do \
	    $$(sed -n '1s,^# python,$(BIN)/python,p' "$$file") || exit 1; \
	done

# An environment of its own, too. Material's notice about MkDocs 2 is not about this site.
$(SITE_VENV)/.up-to-date: pyproject.toml
	$(PYTHON) -m venv $(SITE_VENV)
	$(SITE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(SITE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --group site
	touch $@

site: $(SITE_VENV)/.up-to-date
	NO_MKDOCS_2_WARNING=1 $(SITE_VENV)/bin/mkdocs build --config-file .mkdocs.yml --strict --clean
	$(SITE_VENV)/bin/python -m tests.docs.site site

clean:
	rm -rf $(VENV) .venv-* site mutants mutants.log .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache demo.png
