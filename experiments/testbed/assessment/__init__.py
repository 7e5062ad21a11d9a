"""What the testbed's weights are worth: the gate, quality of judges and generator, studies on held-out clips."""
