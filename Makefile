.PHONY: test check docs

# Everything on a fresh machine with Python and pip.
test:
	python -m pip install -e '.[dev]'
	python -m pytest

check:
	ruff check .
	ruff format --check .
	mypy
	lint-imports

# The documentation as a site, in site/index.html; warnings are errors.
docs:
	NO_MKDOCS_2_WARNING=1 python -m mkdocs build --strict
