# make demo · make test · make lint · make bench; each sets up what it needs.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
KAFKA := .cache/kafka/.ready

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

setup: $(READY)  ## .venv with everything, kernels compiled

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "anomaly needs Python 3.11 or newer: make PYTHON=python3.11 …"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/anomaly compile
	@touch $@

kafka: $(KAFKA)  ## Apache Kafka's jars for the tests and benchmarks

$(KAFKA): pom.xml
	@command -v java >/dev/null || { echo "Kafka needs Java 17: apt-get install -y openjdk-17-jre-headless"; exit 1; }
	@command -v mvn >/dev/null || { echo "the jars come by Maven: apt-get install -y maven"; exit 1; }
	mvn -q -B dependency:copy-dependencies -DoutputDirectory=.cache/kafka
	@touch $@

services:
	@command -v prometheus-alertmanager >/dev/null || command -v alertmanager >/dev/null || { \
		echo "installing Alertmanager from Debian's packages"; \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus-alertmanager; } >/dev/null 2>&1 || \
		{ echo "the tests send to a real Alertmanager: apt-get install -y prometheus-alertmanager"; exit 1; }; }

demo: setup  ## real services, two faults, their alerts and their ends, in six minutes; no Kafka, no Java
	$(BIN)/anomaly demo

test: setup kafka services  ## all tests, on a real Kafka and a real Alertmanager
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder  # they wait more than they work

lint: setup  ## ruff and mypy, strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

faults: setup kafka  ## a hundred kills of workers under load, against one undisturbed pass, and every loss of state; an hour or so
	$(BIN)/python -m tests.faults.lost
	$(BIN)/python -m tests.faults.chaos 100

bench: setup kafka  ## the ingest benchmark; benchmarks/nab.py --data DIR needs data
	$(BIN)/python benchmarks/ingest.py

lock:  ## resolve the pinned versions anew
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --generate-hashes --no-emit-index-url --no-header \
		--python-version 3.11 --quiet -o requirements.lock

.PHONY: help setup kafka services demo test lint faults bench lock
