# `make check` is what CI runs. It needs: pip install -e '.[dev]'
.PHONY: check lint types floors test smoke

check: lint types floors test smoke

lint:
	ruff check .
	ruff format --check .

types:
	mypy

floors:
	lint-imports

test:
	pytest

smoke:
	bench run --variants fm,triple --labels 20,50,100 --protocol smoke --results "$$(mktemp -d)"
