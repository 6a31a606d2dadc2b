# Every target does its own set-up: Python 3.11 or newer and make are all that a machine needs.
# The environment is made once and renewed when pyproject.toml or constraints.txt changes.

.DEFAULT_GOAL := help
.PHONY: help run test bench docs clean

BIN := .venv/bin
SETUP := pyproject.toml constraints.txt tools/setup.sh
PYTHON ?=
export PYTHON

help: ## say what can be made
	@echo "make run    the coffee shop over the conversations in examples/data, then its report"
	@echo "make test   everything that guards the project: format, lint, types, docs, tests"
	@echo "make bench  the benchmarks, each as a ratio to bare Trio"
	@echo "make docs   the documentation, into docs/_build/html"
	@echo "make clean  remove what the other targets made, .venv too"

.venv/.ready-cli: $(SETUP)
	@sh tools/setup.sh cli

.venv/.ready-dev: $(SETUP)
	@sh tools/setup.sh dev

run: .venv/.ready-cli
	@mkdir -p build
	@$(BIN)/spaceactors run examples/coffee_shop.py:CoffeeShop \
		--input examples/data/conversations.jsonl --output build/answers.jsonl --store build/coffee.db --once
	@echo "Every answer, one JSON line each: build/answers.jsonl"
	@echo "What the shop knows now: .venv/bin/spaceactors spaces build/coffee.db"

test: .venv/.ready-dev
	@$(BIN)/python tools/check.py

bench: .venv/.ready-dev
	@$(BIN)/python -m benchmarks

docs: .venv/.ready-dev
	@$(BIN)/python -m sphinx -W --keep-going -q docs docs/_build/html
	@echo "docs/_build/html/index.html"

clean:
	rm -rf .venv build dist docs/_build benchmarks/results .coverage .coverage.* \
		.pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
