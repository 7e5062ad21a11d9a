"""Progress bars: live on a terminal, a line every half minute in a log file."""

import sys

from tqdm import tqdm

LOG_INTERVAL_S = 30


def progress(total: float, description: str, unit: str) -> tqdm:
    """A bar with remaining time; advance it with `update`."""
    return tqdm(total=total, desc=description, unit=unit, mininterval=0.1 if sys.stderr.isatty() else LOG_INTERVAL_S)
