"""From files to the outputs of a network, cached by content."""
