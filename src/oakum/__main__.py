"""`python -m oakum` is the `oakum` command."""

from oakum.cli import main

main()
