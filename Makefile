# `make test` and the demos need only python3 (3.11 or newer) with its venv module, on a bare clone.
# Any other Python, as in `make test PYTHON=python3.13`, has an environment of its own, such as .venv-3.13.
PYTHON ?= python3
VENV := .venv
ifneq ($(PYTHON),python3)
VENV := .venv-$(or $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'),$(error $(PYTHON) does not start))
endif
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
BENCH_PIP := .bench/bin/python -m pip --disable-pip-version-check install --quiet

.PHONY: help venv check format lock docs dist bench test test-pooled quick smoke pythons crash matrix demo demo-agent demo-script demo-wait clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    a workflow fails; its values are shown, the cause is repaired, and it resumes; ends with its report"
	@echo "make demo-agent  an agent is killed during a tool call and resumed; no completed answer of its model is paid twice"
	@echo "make demo-script  a backup script is killed while it packs a dump, and goes on there"
	@echo "make demo-wait  a task asks for approval and its process ends; a shell answers, and it goes on"
	@echo "make test    every check and the whole test-suite (installs what it needs into .venv)"
	@echo "make test-pooled  the tests of PostgreSQL, through a PgBouncer in transaction mode (install pgbouncer before)"
	@echo "make quick   the tests to run between edits: SQLite, one release of zrb, nothing slow (a minute on two idle cores)"
	@echo "make pythons a few tests on each other Python that is promised and found (one: make smoke PYTHON=python3.13)"
	@echo "make crash   kill workflows two thousand times on each database; nothing is lost or done twice (most of an hour)"
	@echo "make matrix  run the plugin's tests on a list of zrb releases, and print a table (RELEASES=\"3.28.0 latest\")"
	@echo "make bench   measure what durability costs, into benchmarks/RESULTS.md (QUICK=1: in two minutes, only printed)"
	@echo "make check   ruff, mypy and the prose linter only"
	@echo "make docs    build the site of the documentation into build/docs/site; a broken link is an error"
	@echo "make lock    look for newer releases of what the development needs, and write them to requirements-dev.txt"
	@echo "make dist    build the sdist and the wheel into dist/, and check them"
	@echo "make format  let ruff format and fix what it can"
	@echo "make clean   remove .venv and everything generated"

# --group needs pip 25.1, which is newer than what many a python3 -m venv brings.
$(VENV)/.pip:
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade "pip>=25.1"
	@touch $@

# Reinstalled only when these files change: the second run of a command starts at once.
$(VENV)/.installed: pyproject.toml requirements-dev.txt | $(VENV)/.pip
	$(PIP) --editable ".[zrb,postgres,page]" --group dev --constraint requirements-dev.txt
	@touch $@

$(VENV)/.installed-demo: pyproject.toml | $(VENV)/.pip
	$(PIP) --editable ".[zrb]"
	@touch $@

venv: $(VENV)/.installed

check: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python docs/prose.py
	$(BIN)/zizmor --offline --quiet .github/workflows

# The newest releases of what the development needs; `make test` then shows whether they work.
lock: venv
	$(BIN)/uv pip compile pyproject.toml --group dev --all-extras --universal --no-annotate --python-version 3.11 --upgrade \
		--quiet --custom-compile-command "make lock" --output-file requirements-dev.txt

docs: venv
	$(BIN)/python docs/build_site.py

# What is published: the sdist, and the wheel that is built from it.
dist: venv
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

format: venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# pytest comes last, so that its summary line ends the output. Many tests wait for leases, timeouts and other processes: with
# four workers, two cores were idle for a third of the time.
test: check
	$(BIN)/pytest -n 6

# PREPARED is PgBouncer's max_prepared_statements, SELECT chooses among the tests.
test-pooled: PREPARED ?= 0
test-pooled: SELECT ?= pooled
test-pooled: venv
	TEST_POOLED=$(PREPARED) $(BIN)/pytest -n 4 -m "$(SELECT)"

quick: venv
	$(BIN)/pytest -n 4 -m quick

# One release of zrb, because the others run on the default Python.
smoke: venv
	TEST_ZRB_RELEASES=$$($(BIN)/python -c "from tests.chosen import RELEASES; print(RELEASES[-1])") \
		$(BIN)/pytest -n 2 -m "smoke or systems"

pythons:
	@$(PYTHON) -m tests.package.pythons

crash: venv
	$(BIN)/python -m tests.faults.crash

matrix: venv
	@TEST_ZRB_RELEASES="$(RELEASES)" $(BIN)/python -m tests.zrb.matrix

# An environment of its own: the peers bring much along that the tests must not lean on.
.bench/.installed: pyproject.toml
	$(PYTHON) -m venv .bench
	$(BENCH_PIP) --upgrade "pip>=25.1"
	$(BENCH_PIP) --editable ".[zrb,postgres]"
	.bench/bin/python -m benchmarks.install
	@touch $@

bench: .bench/.installed
	.bench/bin/python -m benchmarks $(if $(QUICK),--quick)

demo: $(VENV)/.installed-demo
	@PATH="$(CURDIR)/$(BIN):$$PATH" examples/demo.sh

demo-agent: $(VENV)/.installed-demo
	@PATH="$(CURDIR)/$(BIN):$$PATH" examples/demo_agent.sh

demo-script: $(VENV)/.installed-demo
	@PATH="$(CURDIR)/$(BIN):$$PATH" examples/demo_script.sh

demo-wait: $(VENV)/.installed-demo
	@PATH="$(CURDIR)/$(BIN):$$PATH" examples/demo_wait.sh

clean:
	rm -rf .venv .venv-* .bench .envs .demo .demo-agent .demo-script .demo-wait build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
