# Everything that a person or CI runs. The environment is .venv, made on first use from constraints.txt.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JOBS ?= 2

.PHONY: demo test check format clean generate

demo: $(STAMP)
	$(BIN)/python -m trainer --recipe demo --telemetry-dir telemetry
	$(BIN)/python scripts/event_table.py telemetry/latest

test: $(STAMP) tools check
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/generate.py --check

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Files that are derived from the contract.
generate: $(STAMP)
	$(BIN)/python scripts/generate.py

clean:
	rm -rf $(VENV) telemetry .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info

$(STAMP): pyproject.toml constraints.txt scripts/bootstrap.sh
	PYTHON=$(PYTHON) sh scripts/bootstrap.sh $(VENV)
	touch $@

# Prometheus and promtool, from Debian, for the tests that use the real ones.
.PHONY: tools
tools: $(STAMP)
	sh scripts/tools.sh
	sh scripts/collector.sh
	sh scripts/query_parsers.sh
	sh scripts/kustomize.sh
