"""What depends on the machine: whole files, memory, signals, terminals, and where a number was measured."""
