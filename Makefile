# The commands of the project; CI calls exactly these. `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help setup run demo demo-real test test-fast check fmt lint type golden bench clean

help: ## list the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.core: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[all]'
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --group check --group test
	@touch $@

setup: $(VENV)/.dev ## create the environment for development

check: lint type test-fast ## what every commit must pass

fmt: $(VENV)/.dev ## format the code
	$(BIN)/ruff format exporter tests
	$(BIN)/ruff check --fix exporter tests

lint: $(VENV)/.dev ## ruff and spelling
	$(BIN)/ruff format --check exporter tests
	$(BIN)/ruff check exporter tests
	$(BIN)/codespell exporter/src README.md docs changes Makefile pyproject.toml

type: $(VENV)/.dev ## mypy, strict
	$(BIN)/mypy

test-fast: $(VENV)/.dev ## tests without real external programs
	$(BIN)/pytest -q -m 'not e2e'

clean: ## remove the environment and build products
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis tests/.work
