# The commands of this project. `make run` and `make test` make the environment they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
UV ?= uv
# The version of pip that installs, for trials: without it the one that this Python brings.
OLD_PIP ?=
LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-strip-extras pyproject.toml
# The environment is made anew where its Python is gone, or is not the one that is named (make PYTHON=...).
VERSION := -c 'import sys; print(*sys.version_info[:3])' 2>/dev/null
ifneq ($(wildcard $(BIN)),)
PRESENT := $(shell $(BIN)/python $(VERSION))
ifeq ($(PRESENT),)
REMAKE := remake
else ifneq ($(origin PYTHON),file)
ifneq ($(PRESENT),$(shell $(PYTHON) $(VERSION)))
REMAKE := remake
endif
endif
endif
PYTEST_ARGS ?=
# Tests, chaos and soak start hundreds of processes: each would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE
# What is quick without a broker; `make test` has the rest.
CHECKED_TESTS := tests/dead_letters tests/docs tests/domain tests/mutation tests/records tests/schemas \
	tests/test_expiry.py tests/topics
SEED ?= 1
COMMANDS ?= 200000
HOURS ?= 0.25
BENCH_ARGS ?=
COMPILED_TESTS := tests/agents tests/bench/test_build.py tests/broker tests/cli/test_help.py \
	tests/dev/test_compiled.py tests/engine tests/records tests/test_expiry.py
CHAOS_ARGS ?=
SOAK_MINUTES ?= 30
SOAK_ARGS ?=

.PHONY: remake help run broker test check coverage fuzz lint format types docs compiled test-compiled bench bench-peers simulate chaos drill soak mutation environment lock clean
.DEFAULT_GOAL := help

help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(INSTALLED) ## Start Kafka, the topics and a worker, and send a guided set of commands
	@$(BIN)/python -m tools.dev.start

broker: $(INSTALLED) ## Start only Kafka, in the background (ends with: .venv/bin/python -m tools.dev.broker down)
	@$(BIN)/python -m tools.dev.broker up

test: $(INSTALLED) ## Run all tests on all cores (how they are spread: tests/distribution.py)
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile $(PYTEST_ARGS)

check: $(INSTALLED) ## Lint, types, and the quick tests without a broker: about a minute, before a pull request
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile -m "not broker" $(CHECKED_TESTS) $(PYTEST_ARGS)

coverage: $(INSTALLED) ## The same, and show which lines and branches no test runs (takes twice as long)
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --cov --cov-report=term $(PYTEST_ARGS)

fuzz: $(INSTALLED) ## Send the gateway 25,000 requests: from its OpenAPI document, and broken on purpose
	PAYMENTS_FUZZ=full $(BIN)/python -m pytest --timeout=3600 -o faulthandler_timeout=3700 tests/gateway/test_fuzz.py tests/gateway/test_fuzz_bytes.py

lint: $(INSTALLED) ## Check style with all rules of ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED) ## Format the code
	$(BIN)/ruff format .

types: $(INSTALLED) ## Check types with mypy --strict
	$(BIN)/mypy

docs: $(INSTALLED) ## Build the documentation as a site, into .site; a warning is an error
	$(BIN)/mkdocs build --strict --quiet

compiled: $(INSTALLED) ## Build what users install into .compiled: the hot modules as machine code (needs gcc)
	@$(BIN)/python -m tools.dev.compiled

test-compiled: compiled ## Run the tests of what is compiled against it, on all cores
	PAYMENTS_COMPILED=1 PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/.compiled:$(CURDIR) $(BIN)/python -m pytest \
		--numprocesses auto --dist loadfile --override-ini pythonpath= \
		-m "not broker or kafka39 or compiled" $(COMPILED_TESTS) $(PYTEST_ARGS)

bench: compiled ## Measure speed and memory of what users install
	@$(BIN)/python -m tools.bench

simulate: $(INSTALLED) ## Simulate workers, brokers and faults; SEED, COMMANDS, HOURS
	@$(BIN)/python -m tools.simulator --seed $(SEED) --commands $(COMMANDS) --hours $(HOURS)

bench-peers: compiled ## Measure beside Restate, Kafka Streams and Faust (installs them; see docs/peers.md)
	@$(BIN)/python -m tools.bench.peers $(BENCH_ARGS)

mutation: $(INSTALLED) ## Put deliberate faults in, and see whether the tests notice
	@$(BIN)/python -m tools.mutation

chaos: $(INSTALLED) ## Break it: a storm of commands while workers, brokers and the network fail
	@$(BIN)/python -m tools.chaos $(CHAOS_ARGS)

soak: $(INSTALLED) ## Use it for 30 minutes (SOAK_MINUTES, 6 at least), then look at every line of every log
	@$(BIN)/python -m tools.chaos.soak --minutes $(SOAK_MINUTES) $(SOAK_ARGS)

drill: $(INSTALLED) ## Lose a cluster, restore an older backup, and take the documented ways back
	@$(BIN)/python -m tools.chaos.drill

environment: $(INSTALLED) ## Only make the environment in .venv

# The locks decide whether anything must be installed again: the stamp keeps their sum. They name every
# package, so pip resolves nothing (--no-deps): no release made later and no version of pip changes what
# is installed.
$(INSTALLED): requirements/dev.txt pyproject.toml $(REMAKE)
	@command -v $(PYTHON) >/dev/null || { echo "Error: there is no $(PYTHON) here: install Python 3.11 or later, or name one: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Error: Python 3.11 or later is needed, $(PYTHON) is %s.%s; name another: make PYTHON=python3.11 ..." % sys.version_info[:2])'
	@if [ -n "$(REMAKE)" ] || [ "$$(cat $(INSTALLED) 2>/dev/null)" != "$$(cat requirements/dev.txt pyproject.toml | cksum)" ]; then \
		$(PYTHON) tools/dev/environment.py $(VENV) requirements/dev.txt $(if $(REMAKE),--clear) $(if $(OLD_PIP),--pip $(OLD_PIP)) && \
		cat requirements/dev.txt pyproject.toml | cksum > $(INSTALLED); \
	else touch $(INSTALLED); fi

lock: ## Pin all dependencies again, after a change in pyproject.toml (needs uv)
	$(LOCK) --extra all --output-file requirements/runtime.txt
	$(LOCK) --extra dev --group build --constraint requirements/runtime.txt --output-file requirements/dev.txt
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-strip-extras --group build --constraint requirements/dev.txt \
		--output-file requirements/build.txt

clean: ## Remove the environment, caches, and the development broker's data (refused while it runs)
	@$(PYTHON) tools/dev/clean.py
