"""What the testbed's gate (`experiments.testbed.assessment.gate`) asks for, also for its figures."""

MASS_RATIO = 2.0
ENTROPY_GAP_NAT = 1.0
DELETION_SHARE = 0.05
COMPENSATION_ERRORS = 3.0

# Of attention offsets: the testbed's sites have one token for eight mel frames of 256 samples at 16 kHz.
TOKEN_FRAMES_PER_SECOND = 16_000 / 256 / 8
