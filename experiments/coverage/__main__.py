"""The command line."""

from experiments.coverage import command
from experiments.system.settings import program

program(command.CoverageSettings, command.write, command.__doc__)
