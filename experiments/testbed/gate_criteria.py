"""Thresholds of the testbed's gate (`experiments.testbed.gate` says what each is of)."""

MASS_RATIO = 2.0
ENTROPY_GAP_NAT = 1.0
DELETION_SHARE = 0.05
COMPENSATION_ERRORS = 3.0
