# The few commands that Marconi's users and developers type; `make help` lists them.

PYTHON ?= python3

BIN := .venv/bin
PACKAGING := setup.cfg setup.py pyproject.toml constraints.txt

# The releases that are known to work. CONSTRAINTS= takes the newest that setup.cfg allows.
CONSTRAINTS ?= --constraint constraints.txt

FAULTS ?= ci
MINUTES ?=

.PHONY: help serve test test-slow check docs bench faults constraints hashes clean
.DEFAULT_GOAL := help

# Each of the hundreds of processes that the tests start would compile all modules for itself.
unexport PYTHONDONTWRITEBYTECODE

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST)

serve: .venv/serve.stamp ## run the service at http://127.0.0.1:8888 until Ctrl-C
	@exec $(BIN)/marconi serve

test: .venv/test.stamp ## run the tests
	@$(BIN)/python -m pytest

test-slow: .venv/test.stamp .venv/docs.stamp ## run the tests with real clients, and those that kill, restart and install services, for minutes
	@$(MAKE) --no-print-directory --jobs=2 \
		.venv/keystone.stamp .venv/clients-v1.stamp .venv/clients-v2.stamp \
		.venv/clients-sqs.stamp .venv/clients-query.stamp
	@$(BIN)/python -m pytest -m slow

check: .venv/check.stamp ## lint, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: .venv/docs.stamp ## make the documents a site, build/site/; a broken link fails
	@rm -rf build/site
	@$(BIN)/python -m sphinx --quiet --fail-on-warning --fresh-env -d build/doctrees -c docs . build/site
	@echo 'The documents are a site now: open build/site/index.html in a browser.'

bench: .venv/bench.stamp ## measure, into benchmarks/results/ (QUICK=1: roughly, under two minutes)
	@$(BIN)/python -m benchmarks $(if $(QUICK),--quick)

faults: .venv/serve.stamp ## kill parts of a service under load, and check its promises (FAULTS=long MINUTES=60, REPLAY=folder)
	@$(BIN)/python -m faults $(if $(REPLAY),replay '$(REPLAY)',$(if $(filter long,$(FAULTS)), \
		goal $(if $(MINUTES),--minutes $(MINUTES)),run))

constraints: ## choose the newest releases of all packages anew, into constraints.txt and requirements.txt
	@$(PYTHON) -m venv --clear .venv/newest
	@.venv/newest/bin/python -m pip $(PIP_INSTALL) '.[test,check,docs,bench,keystone,tracing]'
	@{ echo '# Made by `make constraints`: the releases with which Marconi is installed and tested.'; \
		.venv/newest/bin/python -m pip freeze --exclude marconi-api; } >constraints.txt
	@$(MAKE) --no-print-directory hashes

# For all platforms and versions of Python that Marconi runs on, which pip-compile cannot do.
hashes: ## write requirements.txt anew: what Marconi needs to run, of constraints.txt, with hashes
	@$(PYTHON) -m venv --clear .venv/hashes
	@.venv/hashes/bin/python -m pip $(PIP_INSTALL) uv
	@{ echo '# Made by `make hashes`: what Marconi needs to run, for pip install --require-hashes.'; \
		.venv/hashes/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
			--no-annotate --no-header --constraint constraints.txt setup.cfg; } >requirements.txt

clean: ## remove what these commands made, the data of the service excepted
	rm -rf .venv build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# A stamp is newer than what its environment was made from, so that the second run of a
# command starts at once. Only what a command needs is installed.
PIP_INSTALL := install --quiet --disable-pip-version-check
INSTALL := $(BIN)/python -m pip $(PIP_INSTALL) --use-pep517 $(CONSTRAINTS) --editable

.venv/made.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'Marconi needs Python 3.11 or newer: try  make PYTHON=/path/to/python3' >&2; exit 1; }
	@echo 'Making the environment .venv, which takes a minute once ...' >&2
	@$(PYTHON) -m venv --clear .venv
	@touch $@

.venv/serve.stamp: .venv/made.stamp $(PACKAGING)
	@$(INSTALL) .
	@touch $@

.venv/test.stamp: .venv/made.stamp $(PACKAGING)
	@$(INSTALL) '.[test]'
	@touch .venv/serve.stamp $@

# A real Keystone. Most of it is never imported, and neither is most of the clients, so they are not
# compiled in advance. If it cannot be installed, its tests are skipped with the reason, and the next
# `make test-slow` tries again.
.venv/keystone.stamp: tests/keystone/keystone.txt .venv/made.stamp
	@$(PYTHON) -m venv --clear --without-pip .venv/keystone
	@if $(BIN)/python -m pip --python .venv/keystone $(PIP_INSTALL) --no-compile \
			--requirement $< 2>.venv/keystone.failed; then \
		rm .venv/keystone.failed; touch $@; \
	else \
		echo 'Keystone cannot be installed, and its tests are skipped:' >&2; \
		cat .venv/keystone.failed >&2; \
	fi

# Real clients, of two generations that cannot live in one environment.
.venv/clients-%.stamp: tests/clients/clients-%.txt .venv/made.stamp
	@$(PYTHON) -m venv --clear --without-pip .venv/clients-$*
	@$(BIN)/python -m pip --python .venv/clients-$* $(PIP_INSTALL) --no-compile --requirement $<
	@touch $@

.venv/bench.stamp: .venv/serve.stamp
	@$(INSTALL) '.[bench]'
	@touch $@

.venv/docs.stamp: .venv/serve.stamp
	@$(INSTALL) '.[docs]'
	@touch $@

.venv/check.stamp: .venv/test.stamp
	@$(INSTALL) '.[test,check]'
	@touch $@
