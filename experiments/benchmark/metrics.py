"""Speed of the metrics, with Cnn14-size networks of seeded weights: embedding, scoring, a warm cache, FAD, the import.

    python -m experiments.benchmark.metrics                              the figures of docs/metrics.md; minutes
    python -m experiments.benchmark.metrics clips=4 rows=500             a quick look

Every measurement is a process of its own, so that peak memory and caches are its own. Other work on the machine slows
all of them: CPU seconds are printed beside wall seconds.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.system.files import write_whole
from experiments.system.settings import program

CLIP_S = 10.0
SAMPLE_RATE = 16_000
IMPORT_PROGRAM = """
import socket, time
def refuse(*args, **options):
    raise AssertionError("network touched")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
times = [time.perf_counter()]
import torch
times.append(time.perf_counter())
import evaluation
times.append(time.perf_counter())
evaluation.evaluate
times.append(time.perf_counter())
print(*(after - before for before, after in zip(times, times[1:])))
"""


@dataclass(frozen=True)
class BenchmarkSettings:
    """Sizes: ten-second clips per folder, rows and columns of FAD, torch threads, and a file for the figures."""

    clips: int = 100
    rows: int = 10_000
    columns: int = 2048
    threads: int = 2
    out: str = ""


def measured(work: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    """What ``work`` returns, with its wall and CPU seconds and peak memory, from a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_timed, (work, arguments))


def _timed(work: Callable[..., dict[str, float]], arguments: tuple[Any, ...]) -> dict[str, float]:
    start, cpu = time.perf_counter(), time.process_time()
    found = work(*arguments)
    return {
        **found,
        "wall_s": time.perf_counter() - start,
        "cpu_s": time.process_time() - cpu,
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def write_material(folder: Path, clips: int) -> None:
    """Two folders of seeded noise clips, and a Cnn14 checkpoint of seeded weights."""
    import numpy as np
    import soundfile
    import torch

    from evaluation.embedders.networks.panns import FRONT_ENDS, Cnn14

    for side in ("reference", "generated"):
        (folder / side).mkdir()
        for number in range(clips):
            rng = np.random.default_rng([side == "generated", number])
            samples = 0.1 * rng.standard_normal(round(CLIP_S * SAMPLE_RATE)).astype(np.float32)
            soundfile.write(folder / side / f"{number:04d}.wav", samples, SAMPLE_RATE)
    front_end = FRONT_ENDS[SAMPLE_RATE]
    network = Cnn14(front_end)
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.kaiming_normal_(parameter, generator=generator)
    state = network.state_dict()
    # Published checkpoints hold the STFT as two kernels, which the embedder checks.
    index = np.arange(front_end.n_fft)
    dft = np.exp(-2j * np.pi * np.outer(index[: front_end.n_fft // 2 + 1], index) / front_end.n_fft)
    dft *= 0.5 - 0.5 * np.cos(2 * np.pi * index / front_end.n_fft)
    for part, kernel in (("real", dft.real), ("imag", dft.imag)):
        name = f"spectrogram_extractor.stft.conv_{part}.weight"
        state[name] = torch.tensor(kernel, dtype=torch.float32)[:, None]
    torch.save({"model": state}, folder / "cnn14.pth")


def score(folder: Path, threads: int) -> dict[str, float]:
    """FD, KAD and KL of the two folders, through the cache."""
    import torch

    from evaluation import evaluate

    torch.set_num_threads(threads)
    start = time.perf_counter()
    found = evaluate(
        folder / "reference",
        folder / "generated",
        metrics=["fd", "kad", "kl"],
        weights={"cnn14_16k": str(folder / "cnn14.pth")},
        cache_dir=folder / "cache",
        floors=False,
    )
    seconds = time.perf_counter() - start
    audio_s = 2 * CLIP_S * found.results[0].n_scored
    return {"fd": found.value("fd"), "score_s": seconds, "times_real_time": audio_s / seconds}


def frechet(rows: int, columns: int, threads: int) -> dict[str, float]:
    """FAD of two seeded sets of float32 embeddings."""
    import numpy as np
    import torch

    from evaluation import frechet_distance

    torch.set_num_threads(threads)
    first, second = (np.random.default_rng(s).standard_normal((rows, columns), dtype=np.float32) for s in range(2))
    start = time.perf_counter()
    distance = frechet_distance(first, second)
    return {"distance": distance, "fad_s": time.perf_counter() - start}


def import_seconds() -> dict[str, float]:
    """Seconds of torch's import, of evaluation's after it, and of its first use; network blocked, best of three."""
    command = [sys.executable, "-c", IMPORT_PROGRAM]
    runs = [subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split() for _ in range(3)]
    names = ("torch_import_s", "evaluation_import_s", "evaluate_import_s")
    return {name: min(map(float, column)) for name, column in zip(names, zip(*runs, strict=True), strict=True)}


def run(settings: BenchmarkSettings) -> dict[str, Any]:
    """All measurements, with what they were taken on."""
    os.environ |= {name: str(settings.threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    results: dict[str, Any] = {
        "settings": asdict(settings), "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "import": import_seconds(), "fad": measured(frechet, settings.rows, settings.columns, settings.threads),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_material(folder, settings.clips)
        results["cold"] = measured(score, folder, settings.threads)
        results["warm"] = measured(score, folder, settings.threads)
    if results["cold"]["fd"] != results["warm"]["fd"]:
        raise RuntimeError(f"the cache changes the result: {results['cold']['fd']} and {results['warm']['fd']}")
    results["warm_speed_up"] = results["cold"]["score_s"] / results["warm"]["score_s"]
    return results


def write(settings: BenchmarkSettings) -> str:
    """`run`, as json; also written to `out` where that is given."""
    text = json.dumps(run(settings), indent=1)
    if settings.out:
        write_whole(Path(settings.out), text + "\n")
    return text


if __name__ == "__main__":
    program(BenchmarkSettings, write, __doc__)
