# `make check` is what CI runs. It needs: pip install -e '.[dev]'
.PHONY: check lint types floors test smoke gate docs

check: lint types floors test smoke gate docs

lint:
	ruff check .
	ruff format --check .

types:
	mypy

floors:
	lint-imports

test:
	pytest

gate:
	bench gate results/gate-digits.json --results "$$(mktemp -d)"

smoke:
	bench run --variants fm,triple --labels 20,50,100 --protocol smoke --results "$$(mktemp -d)"

# the variable silences an announcement of the theme's authors
docs:
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
