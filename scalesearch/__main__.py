"""`python -m scalesearch`, which is what torchrun starts."""

from scalesearch.cli import main

main()
