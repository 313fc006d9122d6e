"""`python -m gateway`: the same as `rowcast`."""

from gateway.cli import main

main()
