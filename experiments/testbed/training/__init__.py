"""How the testbed's networks are trained: one program per network, state that resumes."""
