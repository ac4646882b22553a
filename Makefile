# Everything there is to run, thin: the work is done by the tools named here.
# Needs make and Python >= 3.11; `dev/bootstrap` fetches the rest into .venv and .tools.
#
#   make serve ARGS="--port 9000"      arguments for gproxy        make test ARGS="-k journal"   … or pytest
#   make serve EXTRAS="postgres"       optional drivers: postgres, mysql, redis
#   make PYTHON=/path/to/python …      another interpreter

ARGS ?=
EXTRAS ?=
PYTHON ?=
export PYTHON

BOOTSTRAP := dev/bootstrap
EXTRA_FLAGS := $(foreach extra,$(EXTRAS),--extra $(extra))
PY := .venv/bin/python
PYTEST := $(PY) -m pytest
SOURCES := src tests dev
# Scripts that write a file of the repository from its source; --check only compares.
GENERATORS := $(sort $(wildcard dev/build_*.py dev/gen_*.py))

.PHONY: help install serve demo test test-fast test-process check soak prove soak-admin bench bench-console agents fuzz format docs console screenshots lock clean ready ready-dev
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

install: ready ## make .venv/bin/gproxy work

serve: ready ## run the gateway
	@.venv/bin/gproxy serve $(ARGS)

demo: ready ## run the gateway with a simulated vendor, a user and a key
	@.venv/bin/gproxy serve --demo $(ARGS)

test: test-fast test-process ## every test, as CI runs them

test-fast: ready-dev ## the tests that start no server process, in parallel
	$(PYTEST) -n 2 -m "not process and not sdk and not soak" $(ARGS)

test-process: ready-dev ## the tests that start real server processes, one after the other
	$(PYTEST) -m "(process or sdk) and not soak" $(ARGS)

check: ready-dev ## format, lint, types, floors, house rules, generated files
	.venv/bin/ruff format --check --output-format concise $(SOURCES)
	.venv/bin/ruff check $(SOURCES)
	.venv/bin/lint-imports
	.venv/bin/mypy
	$(PY) dev/rules.py
	$(PY) -m dev.docs --check
	$(PY) dev/console.py --check
	@for script in $(GENERATORS); do echo "$(PY) $$script --check"; $(PY) $$script --check || exit 1; done

soak: ready-dev ## the long proof: thousands of signals under load on every engine, one table
	$(PYTEST) tests/translate -m soak
	$(PY) -m dev.soak $(ARGS)

prove: ready-dev ## a cut of the soak that takes about five minutes
	$(PY) -m dev.soak --kills 75 --terms 75 --server-share 0.34 $(ARGS)

soak-admin: ready-dev ## the long proof of the control plane: generated requests, reloads under load
	$(PY) -m dev.soak_admin $(ARGS)

bench: ready-dev ## measure what the budgets speak of: command and start-up times, CPU per request, chunk and translated event
	$(PY) dev/bench.py $(ARGS)
	$(PY) dev/bench_pipeline.py
	$(PY) dev/bench_translation.py
	$(PY) dev/bench_admission.py

fuzz: ready-dev ## feed spoiled bytes to every reader, ten minutes in all
	$(PY) -m dev.fuzz $(ARGS)

agents: ready-dev ## install the coding agents and let each edit a file through the gateway (large, needs the network)
	$(PY) -m dev.agents
	$(PYTEST) -m agents -v $(ARGS)

bench-console: ready-dev ## measure the console's pages over a million usage rows, in Chromium
	$(PY) -m dev.bench_console $(ARGS)

format: ready-dev ## format, and mend what the linter can mend
	.venv/bin/ruff format $(SOURCES)
	.venv/bin/ruff check --fix $(SOURCES)

docs: ready-dev ## write the generated pages anew
	$(PY) -m dev.docs

console: ready-dev ## build the web console (needs Node >= 20.19; running it does not)
	$(PY) dev/console.py

screenshots: ready-dev ## take the pictures of the console that the pages show (needs Chromium)
	$(PY) -m dev.screenshots $(ARGS)

lock: ## resolve the dependencies anew
	@$(BOOTSTRAP) lock

clean: ## remove what the build made; data and configuration stay
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist

ready:
	@$(BOOTSTRAP) run $(EXTRA_FLAGS)

ready-dev:
	@$(BOOTSTRAP) dev $(EXTRA_FLAGS)
