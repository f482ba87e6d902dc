# `make demo` and `make test` need nothing but Python 3.11 or later and make.

PYTHON ?= python3
VENV ?= .venv
LINTERS ?= --group lint
BACKEND ?= asyncio
BIN := $(VENV)/bin

# Compiled modules are kept, whatever the environment says: the tests start many processes, each of
# which would compile all again.
export PYTHONDONTWRITEBYTECODE :=

OTHER_VERSIONS := 3.12 3.13 3.14 3.15

BENCH_VENV := .venv-bench
LOOPS_VENV := .venv-loops
INTEGRATIONS_VENV := .venv-integrations
JOBS_VENV := .venv-jobs
FLEET_VENV := .venv-fleet

# Pinned, so that the table of loops in docs/explanation/event-loops.md can be made again.
OTHER_LOOPS := loopmini==0.2.3 zuvloop==0.0.17 rloop==0.5.0 rsloop==0.1.66 nest-asyncio2==1.7.4
LOOPS_TESTS := $(addprefix tests/,behaviour circuit guard loop retry supervision)
MUTATE_VENV := .venv-mutate
SITE_VENV := .venv-site

# How long the proofs search, by luck of their own each time, and how long the soak lasts. The
# luck of a run is printed; PYTEST_ADDOPTS="--seed N" brings it back.
EFFORT ?= 45
MINUTES ?= 10

# How many processes share the tests; whoever is ready takes from the others, since a proof is long.
JOBS ?= auto
SIDE_BY_SIDE := -n $(JOBS) --dist worksteal

.PHONY: help demo test test-plain test-meeting-loops test-eager test-others test-loops test-integrations test-fleet table page-picture fleet-picture lint generated prove soak mutate bench bench-quick bench-fleet \
    pictures site clean

help:
	@echo "make demo [BACKEND=trio]   agents against a failing server, without and with circuits"
	@echo "make demo FLEET=4          the same in so many processes, without and with sharing a circuit"
	@echo "make test                  the test suite"
	@echo "make test-others           the same, without coverage, on Python $(OTHER_VERSIONS), where they are found"
	@echo "make test-loops            a part of it on other packages' event loops, as far as they are found"
	@echo "make test-integrations     what real clients raise, against servers on this machine that fail"
	@echo "make test-fleet            circuits that processes share, through servers on this machine"
	@echo "make page-picture          the page of circuits after five minutes: docs/images/page.png"
	@echo "make fleet-picture         a run of make demo FLEET=4: docs/images/fleet-demo.svg"
	@echo "make table                 what each client makes of each fault: docs/reference/faults.md"
	@echo "make lint                  ruff, mypy, pyright and the architecture test"
	@echo "make generated             what follows from the fields of a policy: keywords, settings, tables"
	@echo "make prove [EFFORT=45]     the randomised proofs, so many times as long as in make test"
	@echo "make soak [MINUTES=10]     10,000 tasks, 1,000 circuits, outages, cancels and crashes"
	@echo "make mutate                how many faults put into the core the tests would find"
	@echo "make bench-quick           speed and behaviour against the peers, in a minute"
	@echo "make bench                 the same in full, in a quarter of an hour"
	@echo "make bench-fleet           processes that share circuits, beside the peers, in ten minutes"
	@echo "make pictures              what policies do on traces: docs/images/policies-*.svg"
	@echo "make site                  the documentation as a site in site/, with every link checked"
	@echo "make clean                 remove what these commands have made"

# The environment is out of date when pyproject.toml has changed since it was made.
$(VENV)/.up-to-date: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[demo]" --group test $(LINTERS)
	touch $@

ifdef FLEET
demo: $(FLEET_VENV)/.up-to-date
	$(FLEET_VENV)/bin/python -m supervisor demo --fleet $(FLEET)
else
demo: $(VENV)/.up-to-date
	$(BIN)/python -m supervisor demo --backend $(BACKEND)
endif

fleet-picture: $(FLEET_VENV)/.up-to-date
	$(FLEET_VENV)/bin/python -m supervisor demo --fleet 4 --output docs/images/fleet-demo.svg

# What has a command of its own: the proofs, and what needs other people's clients and real time.
ELSEWHERE := --ignore=tests/proofs --ignore=tests/integrations/real --ignore=tests/integrations/jobs --ignore=tests/sharing/real

# The proofs repeat the same few lines very often; counting those would take most of the time.
test: $(VENV)/.up-to-date
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) tests/proofs
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest $(SIDE_BY_SIDE) $(ELSEWHERE)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

# The proofs that only compute, or play what has been recorded, are the same on every version.
test-plain: $(VENV)/.up-to-date
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ELSEWHERE)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) tests/proofs/test_cancellation_storm.py tests/proofs/test_crashes.py

# What depends on the version most: tasks, their ends, and the loops. uvloop is the same on each.
test-meeting-loops: $(VENV)/.up-to-date
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -k "not uvloop" $(addprefix tests/,circuit loop supervision)

# With tasks that begin while they are made, as applications may have them on Python 3.12 or later;
# without what is on trio, which has none, what starts processes, whose tasks are plain ones, and what
# starts no tasks, as the pure rooms do.
PROCESSES := $(addprefix --ignore=tests/,benchmarks commands testing/test_pytest_plugin.py)
NO_TASKS := $(addprefix --ignore=tests/,machine policy settings test_architecture.py test_arguments.py test_imports.py)
test-eager: $(VENV)/.up-to-date
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) --eager $(ELSEWHERE) $(PROCESSES) $(NO_TASKS)

# On the PATH, or among pyenv's: its shims may be there although the version is not active. On the
# first that is found, all tests with eager tasks; on the others, as they are, what meets event loops:
# all on each would take too long. `make test-plain PYTHON=...` runs them.
test-others:
	@tests=test-eager; \
	for version in $(OTHER_VERSIONS); do \
	    for python in python$$version "$(HOME)"/.pyenv/versions/$$version.*/bin/python3; do \
	        if "$$python" -c "" 2>/dev/null; then \
	            echo "Python $$version: $$python"; \
	            $(MAKE) $$tests PYTHON="$$python" VENV=.venv-$$version LINTERS= || exit 1; \
	            tests=test-meeting-loops; \
	            break; \
	        fi; \
	    done; \
	done

# An environment of its own, of Python 3.11: some of the loops are built for few versions, or not for
# this machine. What they leave unclosed is theirs.
$(LOOPS_VENV)/.up-to-date: pyproject.toml
	$(PYTHON) -m venv $(LOOPS_VENV)
	$(LOOPS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(LOOPS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable . --group test
	@for loop in $(OTHER_LOOPS); do \
	    $(LOOPS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	        --only-binary :all: $$loop || echo "$$loop cannot be installed here"; \
	done
	touch $@

test-loops: $(LOOPS_VENV)/.up-to-date
	@status=0; missing=; \
	for loop in $(OTHER_LOOPS); do \
	    name=$$(echo $${loop%%=*} | tr - _); \
	    if ! $(LOOPS_VENV)/bin/python -c "import $$name" 2>/dev/null; then missing="$$missing $$loop"; continue; fi; \
	    echo "== $$loop"; \
	    $(LOOPS_VENV)/bin/python -m pytest -q $(SIDE_BY_SIDE) --loop $$name \
	        -W ignore::ResourceWarning -W ignore::pytest.PytestUnraisableExceptionWarning \
	        $(LOOPS_TESTS) || status=1; \
	done; \
	if [ -n "$$missing" ]; then echo "not tested, since not installed:$$missing"; fi; \
	exit $$status

# An environment of its own: the clients bring packages that do not belong beside the other tests.
# Most of what they bring is never imported, and to compile it takes longer than to install it.
$(INTEGRATIONS_VENV)/.up-to-date: pyproject.toml
	$(PYTHON) -m venv $(INTEGRATIONS_VENV)
	$(INTEGRATIONS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(INTEGRATIONS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --editable ".[demo]" --group test --group integrations
	touch $@

# Again one of its own: arq needs an older redis.
$(JOBS_VENV)/.up-to-date: pyproject.toml
	$(PYTHON) -m venv $(JOBS_VENV)
	$(JOBS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(JOBS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --editable . --group test --group jobs
	touch $@

test-integrations: $(INTEGRATIONS_VENV)/.up-to-date $(JOBS_VENV)/.up-to-date
	$(INTEGRATIONS_VENV)/bin/python -m pytest $(SIDE_BY_SIDE) tests/integrations/real
	$(JOBS_VENV)/bin/python -m pytest $(SIDE_BY_SIDE) tests/integrations/jobs

# One of its own, since a client of Redis's comes with the server of Valkey's.
$(FLEET_VENV)/.up-to-date: pyproject.toml
	$(PYTHON) -m venv $(FLEET_VENV)
	$(FLEET_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(FLEET_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --editable ".[demo,redis]" --group test --group fleet
	touch $@

test-fleet: $(FLEET_VENV)/.up-to-date
	$(FLEET_VENV)/bin/python -m pytest $(SIDE_BY_SIDE) tests/sharing/real

# What the clients warn of, or leave unclosed, is theirs.
table: $(INTEGRATIONS_VENV)/.up-to-date
	$(INTEGRATIONS_VENV)/bin/python -W ignore -m tests.integrations.table

# Five minutes of a service, which take as long.
page-picture: $(INTEGRATIONS_VENV)/.up-to-date
	$(INTEGRATIONS_VENV)/bin/python -m tests.integrations.real.picture

lint: $(VENV)/.up-to-date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m pytest -q tests/test_architecture.py

generated: $(VENV)/.up-to-date
	$(BIN)/python -m tests.support.generated

prove: $(VENV)/.up-to-date
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) tests/proofs tests/behaviour/test_schedules.py tests/guard/test_threads.py --effort $(EFFORT)

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
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[demo,redis]" --group bench
	touch $@

bench: $(BENCH_VENV)/.up-to-date
	$(BENCH_VENV)/bin/python -m benchmarks

bench-fleet: $(BENCH_VENV)/.up-to-date
	$(BENCH_VENV)/bin/python -m benchmarks.fleet

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
	rm -rf $(VENV) .venv-* site mutants mutants.log .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache demo.png fleet-demo.svg
