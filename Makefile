# `make check` is what CI runs. It needs: pip install -e '.[dev]'
.PHONY: check lint types floors test

check: lint types floors test

lint:
	ruff check .
	ruff format --check .

types:
	mypy

floors:
	lint-imports

test:
	pytest
