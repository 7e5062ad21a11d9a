"""Progress bars: live on a terminal, a line every half minute in a log file."""

import sys

from tqdm import tqdm

LOG_INTERVAL_S = 30
COUNTED = "{l_bar}{bar}| {n:.6g}/{total:.6g} {unit} [{elapsed}<{remaining}]"
SHARE = "{l_bar}{bar}| [{elapsed}<{remaining}]"


def progress(total: float, description: str, unit: str = "") -> tqdm:
    """A bar with remaining time; advance it with `update`. Without a unit it shows the share that is done alone."""
    interval_s = 0.1 if sys.stderr.isatty() else LOG_INTERVAL_S
    return tqdm(total=total, desc=description, unit=unit, mininterval=interval_s, bar_format=COUNTED if unit else SHARE)
