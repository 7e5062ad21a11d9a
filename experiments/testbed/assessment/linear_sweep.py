"""How small may LiteFocus-Linear's window and sample be? The denoising loss on held-out testbed clips decides.

python -m experiments.testbed.assessment.linear_sweep clips=24 lengths=1,2,4,8 out=results/linear

No sampling: every setting predicts from the same noised real clips, so differences are paired per clip. A setting is
non-inferior at a length where the upper one-sided 95% bound of its relative loss increase stays below MARGIN. The
margin was fixed before the sweep was first run. The default is chosen over the lengths beyond the training length: up
to there dense attention is as fast, and a schedule uses it. Evidence about the testbed only, never about AudioLDM 2.

Records are appended to `out`/records.jsonl; tables are rendered from them. A length that is recorded already for the
same weights and number of clips is not run again.
"""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from experiments.stages.probes import Method, ProbeClips, condition, denoising_loss, lite_focus_method
from experiments.system.environment import describe
from experiments.system.files import write_whole
from experiments.system.progress import progress
from experiments.system.settings import program
from experiments.tables.formats import Cell, Estimate, ResultTable, to_csv, to_markdown
from experiments.testbed.assessment.gate import heldout_scenes
from experiments.testbed.corpus.scenes import TRAIN_DURATION_S, render_scene
from experiments.testbed.models.mel import log_mel
from experiments.testbed.models.vae import encode_mel
from experiments.testbed.plugin.load import load_on_cpu
from experiments.testbed.training.train_state import append_record
from litefocus import LiteFocusConfig, TokenGrid
from litefocus.cost import keys_per_query

MARGIN = 0.005
CONFIDENCE = 0.95
NOISE_LEVELS = (500, 700)
# Token frames of the 8-bin level; the training length has 40 of them and 320 tokens, of which the paper samples 32.
WINDOWS = (20, 40, 80)
BUDGETS = (0, 32, 128)
TOKEN_BINS = 8
RECORDS = "records.jsonl"
DENSE, EXACT = "dense", "litefocus"


@dataclass(frozen=True)
class SweepSettings:
    """`folder`: a testbed pipeline, empty for the shipped one. `lengths`: multiples of the 5.12 s training length."""

    folder: str = ""
    clips: int = 24
    lengths: str = "1,2,4,8"
    out: str = "results/linear"
    threads: int = 1


def linear_config(window: int, budget: int) -> LiteFocusConfig:
    """LiteFocus-Linear with a window of `window` token frames and at most `budget` sampled keys (0 for none)."""
    return LiteFocusConfig(window_frames=window, cross_frequency=budget > 0, max_cross_keys=budget or None)


def sweep_configs() -> dict[str, LiteFocusConfig]:
    """Name -> options of every setting of the sweep, the exact method first."""
    settings = {f"linear_w{w}_k{b}": linear_config(w, b) for w in WINDOWS for b in BUDGETS}
    return {EXACT: LiteFocusConfig(), **settings}


def pattern(config: LiteFocusConfig, grid: TokenGrid) -> tuple[int, int]:
    """(frames of focus, sampled keys) on a grid: settings that share them attend alike there, so one run serves all."""
    focus = keys_per_query(grid, replace(config, cross_frequency=False))
    return focus, keys_per_query(grid, config) - focus


@torch.no_grad()
def heldout_clips(pipe: Any, count: int, length: int) -> ProbeClips:
    """The gate's held-out scenes, `length` x 5.12 s long: latents and text inputs from the pipeline's own parts."""
    scenes = heldout_scenes(count)
    audio = [torch.from_numpy(render_scene(scene, length * TRAIN_DURATION_S))[None] for scene in scenes]
    latents = torch.cat([encode_mel(pipe.vae, log_mel(samples)) for samples in audio])
    return ProbeClips(latents * pipe.vae.config.scaling_factor, condition(pipe, [scene.caption for scene in scenes]))


def mean_losses(unet: Any, scheduler: Any, clips: ProbeClips, method: Method) -> np.ndarray:
    """Denoising loss per clip, mean over NOISE_LEVELS: (B,)."""
    return np.mean([denoising_loss(unet, scheduler, clips, t, method) for t in NOISE_LEVELS], axis=0)


@dataclass(frozen=True)
class Increase:
    """A paired relative loss increase and its one-sided bound; `noninferior` where the bound is below MARGIN."""

    value: float
    bound: float

    @property
    def noninferior(self) -> bool:
        """Whether the increase is below the margin with CONFIDENCE."""
        return self.bound < MARGIN


def increase(losses: Sequence[float], base: Sequence[float], dense: Sequence[float]) -> Increase:
    """Mean of losses - base over the mean dense loss, with the upper one-sided bound of a paired t interval.

    Args:
        losses, base, dense: one value per clip, the same clips in the same order.

    Raises:
        ValueError: fewer than two clips, or sequences of different length.
    """
    if not len(losses) == len(base) == len(dense) >= 2:
        raise ValueError(f"increase over {len(losses)}, {len(base)}, {len(dense)} clips: give the same, at least 2")
    differences = (np.asarray(losses) - np.asarray(base)) / np.mean(dense)
    error = differences.std(ddof=1) / len(differences) ** 0.5
    quantile = stats.t.ppf(CONFIDENCE, len(differences) - 1)
    return Increase(float(differences.mean()), float(differences.mean() + quantile * error))


def run_length(pipe: Any, count: int, length: int, grid: TokenGrid) -> dict[str, list[float]]:
    """Loss per clip of dense attention and of every setting at one length, whose 8-bin level has that grid."""
    clips = heldout_clips(pipe, count, length)
    by_pattern: dict[tuple[int, int], list[str]] = {}
    for name, config in sweep_configs().items():
        by_pattern.setdefault(pattern(config, grid), []).append(name)
    methods: list[tuple[list[str], Method]] = [([DENSE], nullcontext)]
    methods += [(names, lite_focus_method(**asdict(sweep_configs()[names[0]]))) for names in by_pattern.values()]
    losses: dict[str, list[float]] = {}
    with progress(len(methods), f"{length}x", "pattern") as bar:
        for names, method in methods:
            found = mean_losses(pipe.unet, pipe.scheduler, clips, method).tolist()
            losses |= dict.fromkeys(names, found)
            bar.update()
    return losses


def sweep_table(records: Sequence[Mapping[str, Any]]) -> ResultTable:
    """One row per setting, cheapest first: keys per query at the longest clip, increase over dense by length, verdict.

    Args:
        records: one per length, of the same weights and clips.
    """
    by_length = {record["length"]: record for record in records}
    lengths = sorted(by_length)
    last = by_length[lengths[-1]]
    rows: list[list[Cell]] = []
    for name in sorted(last["keys_per_query"], key=lambda name: last["keys_per_query"][name]):
        against = {base: [_increase_at(by_length[length], name, base) for length in lengths] for base in (DENSE, EXACT)}
        cells = [Estimate(100 * x.value, float("-inf"), 100 * x.bound, sign=True) for x in against[DENSE]]
        verdicts = [_verdict(against[base], lengths) for base in (DENSE, EXACT)]
        rows.append([name, last["keys_per_query"][name], *cells, *(verdicts if name != EXACT else [verdicts[0], ""])])
    header = ["setting", "keys per query", *(f"loss increase at {x}x (%)" for x in lengths)]
    keys = ["setting", "keys_per_query", *(f"increase_{x}x_percent" for x in lengths)]
    return ResultTable(
        "linear_sweep",
        f"LiteFocus-Linear on the testbed: denoising loss against dense at {len(last['losses'][DENSE])} held-out clips",
        [*header, "not worse than dense", "not worse than LiteFocus"],
        [*keys, "noninferior_dense", "noninferior_litefocus"],
        rows,
        [_reading(last, lengths), choice(records)],
    )


def _increase_at(record: Mapping[str, Any], name: str, base: str) -> Increase:
    losses = record["losses"]
    return increase(losses[name], losses[base], losses[DENSE])


def _verdict(increases: Sequence[Increase], lengths: Sequence[int]) -> str:
    failed = [f"{length}x" for length, x in zip(lengths, increases, strict=True) if not x.noninferior]
    return "yes" if not failed else f"not shown at {', '.join(failed)}"


def _reading(record: Mapping[str, Any], lengths: Sequence[int]) -> str:
    return (
        f"Value: mean paired increase in % of the dense loss, noise levels {', '.join(map(str, record['levels']))}; "
        f"in brackets the one-sided {CONFIDENCE:.0%} interval. Margin, fixed beforehand: {100 * MARGIN:g}%. wW: window "
        f"of W token frames (40 are the training length); kK: at most K sampled keys. Keys counted at {lengths[-1]}x. "
        f"Testbed {record['weights'][:19]}: evidence about this small model only."
    )


def choice(records: Sequence[Mapping[str, Any]]) -> str:
    """The default in words: the cheapest setting that is non-inferior beyond the training length, if any is."""
    long = [record for record in records if record["length"] > 1]
    if not long:
        return "No length beyond the training length was measured, so nothing is chosen."
    keys = max(records, key=lambda record: record["length"])["keys_per_query"]
    cheapest_first = sorted((name for name in keys if name != EXACT), key=lambda name: keys[name])
    for base, label in ((DENSE, "dense"), (EXACT, "exact LiteFocus")):
        for name in cheapest_first:
            if all(_increase_at(record, name, base).noninferior for record in long):
                return f"Cheapest setting that is non-inferior to {label} at every length beyond 1x: {name}."
    return "No setting is non-inferior to dense, or to the exact LiteFocus, at every length beyond 1x."


def select_records(path: Path, weights: str, clips: int) -> list[dict[str, Any]]:
    """The newest record per length of these weights and this number of clips, shortest first."""
    if not path.exists():
        return []
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    newest = {r["length"]: r for r in records if r["weights"] == weights and len(r["losses"][DENSE]) == clips}
    return [newest[length] for length in sorted(newest)]


def run(settings: SweepSettings) -> str:
    """Run what is missing, append records, write tables; returns the table as markdown."""
    lengths = [int(word) for word in settings.lengths.split(",")]
    pipeline = load_on_cpu(settings.folder)
    out = Path(settings.out)
    done = {record["length"] for record in select_records(out / RECORDS, pipeline.weights, settings.clips)}
    for length in (length for length in lengths if length not in done):
        start = time.process_time()
        grid = TokenGrid(pipeline.latent_grid(length * TRAIN_DURATION_S)[0] // 2, TOKEN_BINS)
        losses = run_length(pipeline.pipe, settings.clips, length, grid)
        record = {
            "kind": "linear_sweep",
            "length": length,
            "levels": list(NOISE_LEVELS),
            "margin": MARGIN,
            "weights": pipeline.weights,
            "environment": describe(pipeline.device, pipeline.dtype),
            "cpu_seconds": time.process_time() - start,
            "keys_per_query": {name: keys_per_query(grid, config) for name, config in sweep_configs().items()},
            "losses": losses,
        }
        append_record(out / RECORDS, record)
    records = [r for r in select_records(out / RECORDS, pipeline.weights, settings.clips) if r["length"] in lengths]
    table = sweep_table(records)
    write_whole(out / "linear_sweep.md", to_markdown(table))
    write_whole(out / "linear_sweep.csv", to_csv(table))
    return to_markdown(table)


if __name__ == "__main__":
    program(SweepSettings, lambda settings: f"{run(settings)}\nresults: {settings.out}", __doc__)
