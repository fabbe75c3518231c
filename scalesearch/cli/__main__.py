"""`python -m scalesearch.cli`."""

from scalesearch.cli import main

main()
