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
	$(BIN)/esper-otel report telemetry/latest -o telemetry/latest/report.html

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

# What watches runs: 'up' with Docker Compose, 'stack' from programs on the PATH. OPTIONS are those of python -m deploy.stack.
.PHONY: up down stack
up: $(STAMP)
	$(BIN)/python -m deploy.stack.compose
	docker compose -f deploy/compose.yaml up --detach --build --wait
	@echo "Grafana: http://127.0.0.1:$${GRAFANA_PORT:-3000}. For a trainer: export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:$${OTLP_HTTP_PORT:-4318}"

down:
	docker compose -f deploy/compose.yaml down

stack: $(STAMP)
	$(BIN)/python -m deploy.stack $(OPTIONS)

# The whole fault campaign (some 20 minutes on 4 cores); it writes the table in docs/faults.md.
.PHONY: faults
faults: $(STAMP) tools
	$(BIN)/python -m tests.faults.campaign

# The figures against every alternative: two runs for the spread, some 45 minutes on a machine with nothing else to do.
# ESPER_LITE_SRC=…/src adds esper-lite's own hub.
.PHONY: bench
bench: $(STAMP)
	sh scripts/bootstrap.sh $(VENV) bench
	$(BIN)/python -m benchmarks --out out/bench-1.json
	$(BIN)/python -m benchmarks --out out/bench-2.json
	$(BIN)/python -m benchmarks --merge out/bench-1.json out/bench-2.json --page docs/benchmarks.md
