# Every command a contributor needs; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The certificates of the system, not those bundled with uv: company networks have authorities of their own.
UV := $(BIN)/uv --system-certs
UV_VERSION := 0.13.9
MEMBERS := $(sort $(wildcard libs/*/pyproject.toml services/*/pyproject.toml))
EDITABLES := $(foreach member,$(MEMBERS),-e $(dir $(member)))
STAMP := $(VENV)/.setup-stamp
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup demo check format lint types imports proto proto-check docs docs-check lock test test-unit test-integration test-chaos test-kubernetes test-catalogue bench clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

setup: $(STAMP) ## Create .venv with the locked dependencies and the workspace

$(BIN)/uv:
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] < (3, 14) else "mltrainer needs Python 3.11, 3.12 or 3.13; set PYTHON=… to one of them")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(STAMP): $(BIN)/uv requirements.lock $(MEMBERS)
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation $(EDITABLES)
	touch $(STAMP)

COMPILE = $(UV) pip compile --quiet --python-version 3.11 --universal --generate-hashes --no-annotate --no-header \
  --no-emit-index-url $(foreach member,$(MEMBERS),--no-emit-package mltrainer-$(notdir $(patsubst %/,%,$(dir $(member))))) \
  --group dev $(MEMBERS)
lock: $(BIN)/uv ## Re-lock the dependencies, keeping existing pins
	@$(COMPILE) -o requirements.lock >/dev/null
	@$(COMPILE) --extra catalogue -c requirements.lock -o requirements-catalogue.lock >/dev/null

# An environment of its own: the other tests must see what an installation without the optional libraries sees.
CATALOGUE_VENV := .venv-catalogue
$(CATALOGUE_VENV)/.setup-stamp: $(BIN)/uv requirements-catalogue.lock $(MEMBERS)
	$(UV) venv --quiet --clear --python $(BIN)/python $(CATALOGUE_VENV)
	$(UV) pip install --quiet --python $(CATALOGUE_VENV)/bin/python --require-hashes -r requirements-catalogue.lock
	$(UV) pip install --quiet --python $(CATALOGUE_VENV)/bin/python --no-deps --no-build-isolation $(EDITABLES)
	touch $@

check: format-check lint types imports proto-check docs-check ## Everything that needs no test

format: setup ## Format the code
	ruff format libs services tests benchmarks scripts examples
	ruff check --fix --quiet libs services tests benchmarks scripts examples

.PHONY: format-check
format-check: setup
	ruff format --check --quiet libs services tests benchmarks scripts examples

lint: setup ## Lint
	ruff check --quiet libs services tests benchmarks scripts examples

SOURCES := $(filter-out libs/protos/src,$(wildcard libs/*/src services/*/src))
types: setup ## Check the types
	mypy $(SOURCES)

imports: setup ## Check the import contracts
	lint-imports --no-cache | tail -n 20

# Real processes and sockets on a machine that others use too: what fails once is tried again and listed as RERUN (ADR 0091).
SECOND_TRY := --reruns 1 --reruns-delay 5 -rR

# Consul and the S3 server take minutes to build once; their tests come last and wait, or skip with the reason.
test: check ## What CI calls: checks, then unit, component and integration tests
	(nice sh -c 'python -m mltrainer_testkit.s3 tests/integration/versitygw_build; \
	  python -m mltrainer_testkit.consul tests/integration/consul_build' >/dev/null 2>&1 &)
	coverage erase
	pytest -p no:cacheprovider -m "not integration and not catalogue" -n 2 --dist loadfile $(SECOND_TRY) --cov --cov-report= libs services tests
	pytest -p no:cacheprovider -m integration -n 2 --dist loadfile $(SECOND_TRY) libs services
	pytest -p no:cacheprovider -m integration $(SECOND_TRY) tests
	coverage report --fail-under=80 | tail -n 1

test-unit: setup ## Tests that start no broker, database server or second process
	pytest -m "not integration and not chaos and not catalogue" libs services tests

test-integration: setup ## Tests with a real broker, real databases and real processes
	pytest -m integration libs services tests

test-chaos: setup ## 300 trainings while everything is killed at random; long
	MLTRAINER_CHAOS_TRAININGS=$${MLTRAINER_CHAOS_TRAININGS:-300} pytest -m chaos --timeout=5400 -s tests/integration/test_kill_everything.py

test-kubernetes: setup ## The Kubernetes backend on a real cluster, built here; needs root and a container runtime
	pytest -p no:cacheprovider -m kubernetes --timeout=600 tests/kubernetes services/trainer/tests

test-catalogue: $(CATALOGUE_VENV)/.setup-stamp ## Every model of the catalogue really trains, saves, loads and refits
	$(CATALOGUE_VENV)/bin/python -m pytest -p no:cacheprovider -n 2 -m catalogue --timeout=300 services/trainer/tests

demo: setup ## Watch the whole platform at work
	mltrainer demo

bench: setup $(CATALOGUE_VENV)/.setup-stamp ## Measure; prints every claimed figure beside its floor or peer
	python benchmarks/calls/bench.py
	python benchmarks/interceptors/bench.py
	python benchmarks/registry/bench.py
	python benchmarks/registry/crash.py --promotions 1000 --kills 20
	python benchmarks/registry/rollback.py --rollbacks 20
	python benchmarks/registry_trust/bench.py
	python benchmarks/scheduling/bench.py --months-only
	python benchmarks/scheduling/plan_speed.py
	python benchmarks/scheduler_live/bench.py
	python benchmarks/node_faults/simulation.py --faults 1000
	python benchmarks/packing/bench.py
	python benchmarks/spot/bench.py --part made-up
	python benchmarks/feature_offline/bench.py --no-peer
	python benchmarks/feature_online/bench.py
	python benchmarks/feature_stream/bench.py
	python benchmarks/feature_recovery/bench.py --kills 20
	python benchmarks/study_statistics/bench.py
	python benchmarks/study_variance/bench.py
	python benchmarks/study_honesty/bench.py
	python benchmarks/computation_cache/bench.py
	python benchmarks/study_sweep/bench.py
	python benchmarks/study_workers/bench.py
	$(CATALOGUE_VENV)/bin/python benchmarks/determinism/bench.py --retrains 20

docs: setup ## Regenerate the reference documents from the contracts
	python scripts/generate_references.py
	python scripts/generate_catalogue.py

docs-check: setup ## Fail where a generated reference differs from the contracts
	python scripts/generate_references.py --check
	python scripts/generate_catalogue.py --check

clean: ## Remove what the tools left behind
	rm -rf .mypy_cache .ruff_cache .pytest_cache .coverage .coverage.* htmlcov

PROTOC := $(BIN)/python -m grpc_tools.protoc
PROTO_OUT := libs/protos/src
proto: setup ## Format, lint, check breaking changes and regenerate the contracts
	cd proto && buf format -w
	$(MAKE) --no-print-directory proto-lint
	rm -rf $(PROTO_OUT)/mltrainer $(PROTO_OUT)/inference $(PROTO_OUT)/flagd $(PROTO_OUT)/feast_wire
	$(PROTOC) -I proto -I proto/third_party --python_out=$(PROTO_OUT) --grpc_python_out=$(PROTO_OUT) \
	  --mypy_out=quiet:$(PROTO_OUT) --mypy_grpc_out=quiet:$(PROTO_OUT) \
	  $(sort $(shell cd proto && find mltrainer -name '*.proto') $(shell cd proto/third_party && find . -name '*.proto' -printf '%P\n'))
	touch $(PROTO_OUT)/mltrainer/py.typed

.PHONY: proto-lint
proto-lint:
	cd proto && buf lint && buf format -d --exit-code
	test ! -f proto/released.binpb || (cd proto && buf breaking --against released.binpb)

proto-check: setup proto-lint ## Fail where committed generated code differs from the contracts
	scripts/check_generated.sh
