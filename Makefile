# Two commands do everything on a fresh machine: `make run` and `make test`. The work is in scripts/, which CI calls too.
.DEFAULT_GOAL := help
.PHONY: help setup setup-test run test unit lint types coverage bench scaling fuzz torture pin clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' Makefile

setup: ## .venv with Headwater in it, at the pinned versions
	@scripts/setup

setup-test: ## the same, and everything the tests need
	@scripts/setup-test

run: ## the gallery: five small applications on 127.0.0.1:8000
	@scripts/run

test: ## all checks and all tests, as CI runs them
	@scripts/test

unit: ## only the quick tests, in seconds
	@scripts/unit

lint: ## ruff: rules and format
	@scripts/lint

types: ## mypy, strict
	@scripts/types

coverage: ## each module covered wholly by its own tests
	@scripts/coverage

bench: ## the numbers the docs quote
	@scripts/bench

scaling: ## what large installations need, computed from those
	@scripts/bench scaling

fuzz: ## look for inputs that the suite has not tried
	@scripts/fuzz

torture: ## break networks, servers and processes under load, for a minute
	@scripts/torture

pin: ## constraints.txt anew, from the newest versions
	@scripts/pin

clean: ## remove what these commands made
	@scripts/clean
