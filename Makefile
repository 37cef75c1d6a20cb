# `make test` and `make demo` need only python3 (3.11 or newer) with its venv module, on a bare clone.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: help venv check format test demo clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    a workflow dies, is looked at, is mended and resumes"
	@echo "make test    every check and the whole test-suite (installs what it needs into .venv)"
	@echo "make check   ruff and mypy only"
	@echo "make format  let ruff format and mend what it can"
	@echo "make clean   remove .venv and everything generated"

# --group needs pip 25.1, which is newer than what many a python3 -m venv brings.
.venv/.pip:
	$(PYTHON) -m venv .venv
	$(PIP) --upgrade "pip>=25.1"
	@touch $@

# Reinstalled only when pyproject.toml changes: the second run of a command starts at once.
.venv/.installed: pyproject.toml | .venv/.pip
	$(PIP) --editable ".[zrb,postgres]" --group dev
	@touch $@

.venv/.installed-demo: pyproject.toml | .venv/.pip
	$(PIP) --editable ".[zrb]"
	@touch $@

venv: .venv/.installed

check: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# pytest comes last, so that its summary line ends the output.
test: check
	$(BIN)/pytest -n 2

demo: .venv/.installed-demo
	@PATH="$(CURDIR)/$(BIN):$$PATH" examples/demo.sh

clean:
	rm -rf .venv .demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
