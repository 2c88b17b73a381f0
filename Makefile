# SPDX-License-Identifier: Apache-2.0
# Needs Python 3.11 or later, pip and make; everything else goes into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCKED := $(BIN)/pip install --quiet --disable-pip-version-check --require-hashes
OURS := $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .

.DEFAULT_GOAL := help

.PHONY: help
help:  ## This list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(VENV)/run.stamp: requirements/run.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(LOCKED) --requirement requirements/run.txt
	$(OURS)
	touch $@

$(VENV)/test.stamp: requirements/test.txt $(VENV)/run.stamp
	$(LOCKED) --requirement requirements/test.txt
	touch $@

# Programs that share no package with us, each in an environment of its own: the Keystone that the tests ask, the Swift
# in which they keep bytes, the Glance that `make bench OPTIONS="--peer glance …"` compares with, what looks after the
# servers of a cluster of PostgreSQL, the clients that people use, the services that use images, and OpenStack's tests of
# the Images API.
OTHERS := keystone swift peer patroni clients services tempest
$(OTHERS:%=$(VENV)/%.stamp): $(VENV)/%.stamp: requirements/%.txt | $(VENV)/run.stamp
	$(BIN)/python -m venv $(VENV)/$*
	$(VENV)/$*/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
	touch $@

# What fuzzes the parsers, and what drives Chromium (Debian's chromium and chromium-driver), in the environment of the tests.
$(VENV)/fuzz.stamp $(VENV)/browser.stamp: $(VENV)/%.stamp: requirements/%.txt $(VENV)/test.stamp
	$(LOCKED) --requirement $<
	touch $@

PORT ?= 9191

.PHONY: run
run: $(VENV)/run.stamp  ## Serve on http://127.0.0.1:9191 over glance-registry.sqlite in this folder (another port: make run PORT=9292)
	$(BIN)/glance-registry serve --port $(PORT)

.PHONY: check
check: lint  ## Style, types, and what runs in one process on SQLite, in a minute. Not: what needs PostgreSQL, Keystone, another process or a connection (all of tests/browser, clients, cluster, crash, hostile, overload), what is marked slow, nine of ten of Hypothesis's examples
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --hypothesis-profile check -m "not external and not slow and not nightly"

.PHONY: test
test: $(VENV)/test.stamp $(VENV)/keystone.stamp $(VENV)/swift.stamp $(VENV)/clients.stamp $(VENV)/services.stamp $(VENV)/patroni.stamp  ## All tests, on SQLite and on a PostgreSQL, a cluster of it, a Keystone, a Swift, clients and services that come with them
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

.PHONY: nightly
nightly: $(VENV)/test.stamp $(VENV)/keystone.stamp $(VENV)/swift.stamp $(VENV)/tempest.stamp $(VENV)/patroni.stamp $(VENV)/fuzz.stamp $(VENV)/browser.stamp  ## What takes long, or needs a browser: crashes, failovers, races, fuzz, hostile callers, pages; prints the figures of docs/reliability.md
	$(BIN)/python -m pytest -m nightly --figures $(VENV)/figures.md $(OPTIONS)

.PHONY: cluster
cluster: $(VENV)/test.stamp $(VENV)/patroni.stamp  ## Three PostgreSQL servers under Patroni on this machine, until Ctrl-C, to try the registry on
	$(BIN)/python -m deploy.cluster

.PHONY: bench
bench: $(VENV)/test.stamp $(if $(findstring --peer,$(OPTIONS)),$(VENV)/peer.stamp)  ## Measure speed and size; JSON (options: bench OPTIONS="--only sqlite-get")
	@$(BIN)/python -m bench $(OPTIONS)

.PHONY: performance
performance: $(VENV)/test.stamp $(VENV)/peer.stamp  ## Measure everything anew, up to a million images, for docs/performance.md
	$(BIN)/python -m bench --scale 10000,100000,1000000 --peer glance --rounds 3 --into docs/performance.json $(OPTIONS)
	$(BIN)/python -m bench.plot

.PHONY: lint
lint: $(VENV)/test.stamp  ## Style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

.PHONY: format
format: $(VENV)/test.stamp  ## Rewrite the code in the house style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: docs
docs: $(VENV)/test.stamp  ## Renew the reference parts of docs/ from the code
	$(BIN)/python docs/generate.py

.PHONY: lock
lock: $(VENV)/test.stamp  ## Renew requirements/ from pyproject.toml: names, versions and hashes
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url \
	  --python-version 3.11 --upgrade pyproject.toml --output-file requirements/run.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url \
	  --python-version 3.11 --constraint requirements/run.txt --extra test --extra keystone --extra s3 \
	  pyproject.toml --output-file requirements/test.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url \
	  --python-version 3.11 --upgrade --group pyproject.toml:keystone-server --output-file requirements/keystone.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url \
	  --python-version 3.11 --upgrade --group pyproject.toml:swift --output-file requirements/swift.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url \
	  --python-version 3.11 --upgrade --group pyproject.toml:peer --output-file requirements/peer.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url \
	  --python-version 3.11 --upgrade --group pyproject.toml:clients --output-file requirements/clients.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url \
	  --python-version 3.11 --upgrade --group pyproject.toml:services --output-file requirements/services.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url \
	  --python-version 3.11 --upgrade --group pyproject.toml:tempest --output-file requirements/tempest.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url \
	  --python-version 3.11 --upgrade --group pyproject.toml:patroni --output-file requirements/patroni.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url \
	  --python-version 3.11 --upgrade --group pyproject.toml:fuzz --output-file requirements/fuzz.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url \
	  --python-version 3.11 --constraint requirements/test.txt --group pyproject.toml:browser --output-file requirements/browser.txt
