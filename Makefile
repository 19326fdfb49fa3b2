# Everything that a person or CI runs. The environment is .venv, made on first use from constraints.txt.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JOBS ?= 3

.PHONY: help demo test quick check format clean generate
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

demo: $(STAMP) ## train on real data with telemetry on; no server needed
	$(BIN)/python -m trainer --recipe demo --telemetry-dir telemetry
	$(BIN)/python scripts/event_table.py telemetry/latest
	$(BIN)/esper-otel report telemetry/latest -o telemetry/latest/report.html
	@echo "Ask the run: $(BIN)/esper-otel sql telemetry/latest \"SELECT * FROM tolaria_batches\""

test: $(STAMP) tools check ## everything that CI runs; installs what 'make tools' does
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile
	ESPER_OTEL_NATIVE=0 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile tests/log

quick: $(STAMP) ## checks and the fast tests of what changed, under a minute
	$(BIN)/python scripts/quick.py

check: $(STAMP) ## format, lint, types, import contracts, generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/generate.py --check

format: $(STAMP) ## format and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

generate: $(STAMP) ## write the files that are derived from the code
	$(BIN)/python scripts/generate.py

.PHONY: alerts
alerts: generate ## write the files of the alerts and run their tests, without Prometheus
	$(BIN)/python -m pytest -q -n $(JOBS) tests/alerts/test_table.py tests/alerts/test_links.py tests/alerts/test_rules.py

clean: ## remove the environment, runs and caches
	rm -rf $(VENV) telemetry .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info

$(STAMP): pyproject.toml constraints.txt scripts/bootstrap.sh hatch_build.py $(wildcard esper_otel/native/*.[ch])
	PYTHON=$(PYTHON) sh scripts/bootstrap.sh $(VENV)
	touch $@

# Prometheus and promtool, from Debian, for the tests that use the real ones.
.PHONY: tools
tools: $(STAMP) ## install or build the programs that tests and the stack use
	sh scripts/tools.sh
	sh scripts/collector.sh
	sh scripts/query_parsers.sh
	sh scripts/kustomize.sh
	sh scripts/object_store.sh
	sh scripts/chdb.sh

# What watches runs: 'up' with Docker Compose, 'stack' from programs on the PATH. OPTIONS are those of python -m deploy.stack.
.PHONY: up down stack
up: $(STAMP) ## the whole stack with Docker Compose
	$(BIN)/python -m deploy.stack.compose
	docker compose -f deploy/compose.yaml up --detach --build --wait
	@echo "Grafana: http://127.0.0.1:$${GRAFANA_PORT:-3000}. For a trainer: export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:$${OTLP_HTTP_PORT:-4318}"

down: ## stop it
	docker compose -f deploy/compose.yaml down

stack: $(STAMP) ## the stack from programs on the PATH
	$(BIN)/python -m deploy.stack $(OPTIONS)

# Every extra of the wheel in an empty environment, with the pinned and with the oldest packages; needs a package index.
.PHONY: packaging
packaging: $(STAMP) ## every extra of the wheel in an empty environment, oldest packages too
	$(BIN)/python -m pytest tests/packaging tests/packaging/campaign.py

# Programs of real frameworks, unchanged; the packages go to out/frameworks/site-packages, from a package index.
.PHONY: frameworks
frameworks: $(STAMP) ## programs of every kind, recorded unchanged, and the page about them
	$(BIN)/python -m tests.frameworks.evidence $(OPTIONS)

# The drawn dashboards in Grafana's own front end; needs Grafana, Tempo and Loki, which no package of Debian has.
.PHONY: browser
browser: $(STAMP) ## dashboards in the real Grafana; needs it, Tempo and Loki on the PATH or in .tools/bin
	CI=true $(BIN)/python -m pytest tests/grafana/in_*.py tests/browser/in_*.py

# A Kubernetes of one node from Debian's packages and Go modules, in namespaces of its own, and the shipped manifests in it.
# The first time builds Kubernetes, 20 minutes; as root, on Debian. 'python -m scripts.cluster' is a shell in such a cluster.
.PHONY: cluster-test
cluster-test: $(STAMP) ## the manifests in a live Kubernetes, and what is lost when, an hour the first time
	CI=true $(BIN)/python -m scripts.cluster $(BIN)/python -m pytest -v tests/cluster/in_*.py $(OPTIONS)
	$(BIN)/python -m tests.cluster.measured

# A real broker of Apache Kafka (Maven Central, Debian's JRE) between two agents and two gateways, killed for ten minutes under load.
# OPTIONS are those of pytest: --cut 60.
.PHONY: kafka-test
kafka-test: $(STAMP) ## agents and gateways with a real Kafka, away for ten minutes, 20 minutes
	sh scripts/collector.sh
	sh scripts/kafka.sh
	CI=true $(BIN)/python -m pytest -v tests/kafka/in_*.py $(OPTIONS)
	$(BIN)/python -m tests.kafka.measured

# Five million events archived through kills of the relay and an outage of the store, and every row compared. MinIO is
# built by 'go build github.com/minio/minio' in a Go module of its own. OPTIONS are those of the module: --minio PROGRAM.
.PHONY: archiving
archiving: $(STAMP) ## a long run archived through kills and an outage, compared row by row; needs MinIO
	$(BIN)/python -m benchmarks.archiving $(OPTIONS)

# A labelled set of real runs, healthy and broken, and how the diagnosis judges them. Stable-Baselines3 as 'make frameworks'.
.PHONY: diagnoses
diagnoses: $(STAMP) ## make the labelled runs of the diagnosis and judge them, an hour
	$(BIN)/python -m benchmarks.diagnosing.make out/diagnoses
	$(BIN)/python -m benchmarks.diagnosing.labels out/diagnoses --half tuning
	$(BIN)/python -m benchmarks.diagnosing.labels out/diagnoses --half reported
	$(BIN)/python -m benchmarks.diagnosing.judge out/diagnoses --write docs/evidence/diagnoses.md
	$(BIN)/python -m benchmarks.diagnosing.comparing out/comparing --write docs/evidence/diagnoses.md
	$(BIN)/python -m benchmarks.diagnosing.times --write docs/evidence/diagnoses.md

# The same of esper-lite, in a table of its own: ESPER_LITE_SRC=/path/to/esper-lite, whose packages are on PYTHONPATH.
.PHONY: diagnoses-of-esper-lite
diagnoses-of-esper-lite: $(STAMP) ## make labelled runs of esper-lite and judge them
	$(BIN)/python -m benchmarks.diagnosing.make out/diagnoses --only esper-lite
	-$(BIN)/python -m benchmarks.diagnosing.labels out/diagnoses --half tuning --only esper-lite
	-$(BIN)/python -m benchmarks.diagnosing.labels out/diagnoses --half reported --only esper-lite
	$(BIN)/python -m benchmarks.diagnosing.judge out/diagnoses --esper-lite --write docs/evidence/diagnoses.md

# Slow and stopped ranks of a real job, and an hour of a healthy one. OPTIONS are those of the module: --healthy 600.
.PHONY: stragglers
stragglers: $(STAMP) ## slow and stop ranks of a real job, ask a healthy one for an hour
	$(BIN)/python -m benchmarks.diagnosing.live --healthy 3600 --write docs/evidence/diagnoses.md $(OPTIONS)

# Healthy runs and one for each fault, and what limits, panels and alerts mark in them. CLEANRL=…/ppo.py adds CleanRL.
.PHONY: limits
limits: $(STAMP) ## make the runs of the calibration and write the tables of the limits, 15 minutes
	$(BIN)/python -m benchmarks.calibrating.runs out/limits $(if $(CLEANRL),--cleanrl $(CLEANRL))
	$(BIN)/python -m benchmarks.limits --good out/limits/good/* $(RECORDINGS) --broken out/limits/broken/* \
	  --write docs/evidence/limits.md

# Random lives of a run: processes are started, killed, suspended, restarted, renamed and cleaned up in any order.
.PHONY: lifecycle
lifecycle: $(STAMP) ## random lives of a run, many of them
	$(BIN)/python -m tests.lifecycle.campaign $(OPTIONS)

# The whole fault campaign (some 20 minutes on 4 cores); it writes the table in docs/evidence/faults.md.
# OPTIONS=--both-roads runs the faults of the log alone, in C and in Python, and writes the table that compares them.
.PHONY: faults
faults: $(STAMP) tools ## the whole fault campaign, 20 minutes
	$(BIN)/python -m tests.faults.campaign $(OPTIONS)

# Lines written in C against those that Python writes: every odd value in every field, and 25,000 generated sets of events;
# then Python's two ways against each other.
.PHONY: lines
LINES = -m pytest -n $(JOBS) --timeout 14400 --hypothesis-profile campaign --hypothesis-show-statistics $(OPTIONS)
lines: $(STAMP) ## bytes of the lines in C and in Python, for very many events, 10 minutes
	ESPER_OTEL_NATIVE=1 $(BIN)/python $(LINES) tests/log/campaign.py tests/log/test_native_lines.py
	ESPER_OTEL_NATIVE=0 $(BIN)/python $(LINES) tests/log/test_encode.py tests/log/test_own_lines.py

# The figures against every alternative: two runs for the spread, some 45 minutes on a machine with nothing else to do.
# ESPER_LITE_SRC=…/src adds esper-lite's own hub.
.PHONY: bench
bench: $(STAMP) ## all benchmarks, 45 minutes
	sh scripts/bootstrap.sh $(VENV) bench
	$(BIN)/python -m benchmarks --out out/bench-1.json
	$(BIN)/python -m benchmarks --out out/bench-2.json
	$(BIN)/python -m benchmarks --merge out/bench-1.json out/bench-2.json --page docs/evidence/benchmarks.md
