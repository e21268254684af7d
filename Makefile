# edupa — `make help` lists the targets
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv/bin
export DO_NOT_TRACK := 1
export SCARF_NO_ANALYTICS := true
export DBT_SEND_ANONYMOUS_USAGE_STATS := false
export GX_ANALYTICS_ENABLED := false

.PHONY: help venv run up down test test-fast fuzz-readers lint format docs lock bench-ingest bench-publish bench-models clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv:
	@python3 tools/bootstrap.py

run: venv  ## the main job: extracts (or the sample province) → published evaluation, printed as a table
	@$(VENV)/edupa run

up: venv  ## the main job, then Airflow's scheduler and web UI
	@$(VENV)/edupa run && $(VENV)/edupa airflow up

down: venv  ## stop Airflow and PostgreSQL
	@$(VENV)/edupa airflow down
	@$(VENV)/edupa server stop

test: venv lint  ## lint, types, all tests
	@$(VENV)/python -m pytest

test-fast: venv  ## all tests but the end-to-end ones
	@$(VENV)/python -m pytest --ignore tests/e2e

fuzz-readers: venv  ## damage files at random for SECONDS (180) and read them: no crash, no hang, no row lost
	@RUST_BACKTRACE=0 $(VENV)/python -m tests.ingest.matrix.fuzz_readers --seconds $(or $(SECONDS),180) 2> >(grep --line-buffered '^seed' >&2)

lint: venv  ## ruff, mypy --strict, import rules (SQL style is tested in tests/dbt)
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .
	@$(VENV)/mypy
	@$(VENV)/lint-imports

format: venv  ## let ruff and sqlfluff rewrite what they can
	@$(VENV)/ruff check --fix . && $(VENV)/ruff format .
	@$(VENV)/python tools/lint_sql.py fix -q

docs: venv  ## write the pages that follow from registry, contracts, marts and roles
	@$(VENV)/python tools/make_docs.py

lock: venv  ## resolve pyproject.toml anew into requirements.lock
	@.venv-bootstrap/bin/uv pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header -o requirements.lock pyproject.toml

bench-ingest: venv .venv-bench/edupa-lock  ## ingest beside a bare copy and four peers (about twenty minutes)
	@$(VENV)/python -m benchmarks.ingest.run

bench-publish: venv  ## publishing beside four other ways, under eight busy readers (about four minutes)
	@$(VENV)/python -m benchmarks.publish.run

bench-models: venv  ## time and memory of each model with one school year of 1.4 million pupils
	@$(VENV)/python -m benchmarks.models.run

.venv-bench/edupa-lock: benchmarks/requirements.lock
	@.venv-bootstrap/bin/uv venv --quiet --clear --python $(VENV)/python .venv-bench
	@.venv-bootstrap/bin/uv pip sync --quiet --require-hashes --python .venv-bench/bin/python benchmarks/requirements.lock
	@touch $@

clean: down  ## remove the warehouse, the sample and the environment
	@rm -rf .edupa extracts .venv .venv-bench .venv-bootstrap
