"""Two-step clips: the model makes sound, LiteFocus agrees with dense where it must, and what memory they take.

Shapes: S samples of a waveform.
"""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext

import numpy as np
import torch

from experiments.checks.lines import FAIL, NOTE, OK, Line
from experiments.datasets.prompts import Prompt
from experiments.matrix.conditions import Method
from experiments.pipelines.pipeline import Pipeline
from experiments.stages.arms import materialised_gib
from experiments.system.memory import available_gib, working_memory_gib
from litefocus import LiteFocusConfig, lite_focus
from litefocus.attention import lse_kernel

STEPS = 2
# Every key once is dense attention in another order of sums. Root mean square over that of the dense clip: float32 was
# 1.5e-6 on a tiny model here; the other two are set by their 3 and 2.4 decimal digits and were not measured.
ROUNDING = {torch.float32: 1e-4, torch.float16: 5e-2, torch.bfloat16: 2e-1}
EVERY_KEY_ONCE = LiteFocusConfig(sparse_ratio=1.0, duplicates="union")


def clip_lines(pipeline: Pipeline, prompt: Prompt, duration_s: float, guidance: float) -> Iterator[Line]:
    """Dense, LiteFocus at ratio 1 with every key once, and dense again after it."""

    def make(config: LiteFocusConfig | None = None) -> np.ndarray:
        with lite_focus(pipeline.pipe, config) if config else nullcontext():
            return pipeline.generate([prompt], [0], duration_s, STEPS, guidance)[0].samples

    what = f"{duration_s:g} s, {STEPS} steps"
    dense = make()
    loudness = float(np.sqrt(np.mean(np.square(dense))))
    sound = np.isfinite(dense).all() and loudness > 0
    advice = "" if sound else "; silent or not finite: try dtype=float32, or save the weights again"
    yield Line(OK if sound else FAIL, "dense clip", f"{what}, rms {loudness:.2g}{advice}")
    error = relative_error(make(EVERY_KEY_ONCE), dense)
    limit = ROUNDING[pipeline.dtype]
    text = f"{what}: {error:.1e} of the dense clip's rms away, accepted is {limit:g}"
    yield Line(OK if error <= limit else FAIL, "LiteFocus, every key", text)
    same = np.array_equal(make(), dense)
    yield Line(OK if same else FAIL, "dense restored", "bit-equal to before" if same else "not equal to before")


def relative_error(output: np.ndarray, reference: np.ndarray) -> float:
    """Root mean square of the difference of two (S,) waveforms over that of the second; inf where that is silent."""
    scale = float(np.sqrt(np.mean(np.square(reference))))
    return float(np.sqrt(np.mean(np.square(output - reference)))) / scale if scale > 0 else float("inf")


def kernel_line(pipeline: Pipeline) -> Line:
    """Which of torch's attention kernels serves LiteFocus here; without one its slower form does."""
    device, dtype = pipeline.device, pipeline.dtype
    is_cuda = device.type == "cuda"
    capability = torch.cuda.get_device_capability(device) if is_cuda else (0, 0)
    kernel = lse_kernel(device.type, capability, dtype, torch.backends.cuda.flash_sdp_enabled())
    major, minor = capability
    where = f"compute capability {major}.{minor}" if is_cuda else torch.backends.cpu.get_cpu_capability()
    precision = str(dtype).removeprefix("torch.")
    if kernel is None:
        return Line(OK, "attention kernel", f"none with a log-sum-exp for {precision} on {where}: keys are appended")
    return Line(OK, "attention kernel", f"{kernel}, for {precision} on {where}: two attentions, merged")


def memory_line(pipeline: Pipeline, prompt: Prompt, shortest_s: float, longest_s: float, guidance: float) -> Line:
    """Working memory of a dense clip against what is free.

    On CUDA the longest clip itself is made; on a CPU the shortest, and the longest is taken to need as much more as it
    is longer (attention kernels that write no scores need memory in proportion to the length).
    """
    measured_s = longest_s if pipeline.device.type == "cuda" else shortest_s
    peak = working_memory_gib(lambda: pipeline.generate([prompt], [0], measured_s, STEPS, guidance), pipeline.device)
    if peak is None:
        return Line(NOTE, "memory", "not measured: this system does not report a process's peak")
    needed, free = peak * longest_s / measured_s, available_gib(pipeline.device)
    how = f"measured {peak:.2g} GiB at {measured_s:g} s" + (", in proportion" if measured_s != longest_s else "")
    text = f"{longest_s:g} s takes {needed:.2g} GiB beside the weights ({how}); {free:.3g} GiB are free"
    if needed > free:
        return Line(FAIL, "memory", f"{text}; set shorter durations, dtype=float16, or another device")
    return Line(OK, "memory", text)


def materialised_lines(pipeline: Pipeline, methods: Mapping[str, Method], longest_s: float) -> Iterator[Line]:
    """The score matrices of methods that write them, against what is free; timing leaves out those that do not fit."""
    for name, method in methods.items():
        if method.materialised:
            needed, free = materialised_gib(pipeline, longest_s), available_gib(pipeline.device)
            text = f"{needed:.3g} GiB of scores at {longest_s:g} s, {free:.3g} GiB are free"
            yield Line(OK if needed < free else NOTE, f"memory of {name}", text)
