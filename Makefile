.PHONY: test check

# Everything on a fresh machine with Python and pip.
test:
	python -m pip install -e '.[dev]'
	python -m pytest

check:
	ruff check .
	ruff format --check .
	mypy
	lint-imports
