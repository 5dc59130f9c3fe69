"""`python -m tinygen`: the same as the command `tinygen`."""

from .cli import main

main()
