"""The command line."""

from experiments.coverage.command import main

main()
