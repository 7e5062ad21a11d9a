"""A long run in one process: memory and open files after every 12 conditions, as JSON lines on the terminal.

    python -m tests.faults.soak 300

Every round is a run of the smoke sweep into a fresh folder: 12 conditions, one clip each; every fifth also renders
tables, figures and the page.
"""

import gc
import json
import sys
import tempfile
from pathlib import Path

import psutil
from hydra import compose, initialize_config_dir

from experiments.run import run
from experiments.system.cli import CONF_DIR

CONDITIONS_PER_ROUND = 12
REPORT_EVERY = 5


def soak(conditions: int) -> None:
    """Run at least so many conditions and print what the process holds after each round."""
    process = psutil.Process()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        for number in range(-(-conditions // CONDITIONS_PER_ROUND)):
            stages = "[generate,report]" if number % REPORT_EVERY == 0 else "[generate]"
            with tempfile.TemporaryDirectory() as folder:
                overrides = ["+sweep=smoke", "durations=[0.32,0.64]", "steps=1", f"stages={stages}"]
                run(compose(config_name="config", overrides=[*overrides, f"out_dir={Path(folder) / 'run'}"]))
            gc.collect()
            held = {"rss_mib": process.memory_info().rss / 2**20, "open_files": process.num_fds()}
            print(json.dumps({"conditions": (number + 1) * CONDITIONS_PER_ROUND, **held}), flush=True)


if __name__ == "__main__":
    soak(int(sys.argv[1]))
