"""Methods that do nothing, a pipeline that makes no audio worth hearing, and ways to damage a wav."""

import contextlib
import functools

import numpy as np

from experiments.matrix.conditions import Method
from experiments.pipelines.pipeline import GeneratedClip


def method(name, config=None):
    if config is None:
        return Method(name, name, lambda pipe: contextlib.nullcontext())
    return Method(name, name, functools.partial(lambda pipe, config: contextlib.nullcontext(), config=config))


class FakePipeline:
    """Audio that depends on prompt and seed; remembers what was asked."""

    sample_rate = 16000
    pipe = None

    def __init__(self, fail_at=None, bad=None):
        self.calls = []
        self.fail_at, self.bad = fail_at, bad

    def generate(self, prompts, seeds, duration_s, steps, guidance):
        self.calls.append([prompt.id for prompt in prompts])
        if self.fail_at == len(self.calls):
            raise KeyboardInterrupt
        clips = []
        for prompt, seed in zip(prompts, seeds, strict=True):
            samples = np.full(round(duration_s * 16000), (ord(prompt.id[0]) + seed) / 256, dtype=np.float32)
            if prompt.id == self.bad:
                samples[3] = np.nan
            clips.append(GeneratedClip(samples, 1.0, 0.25, 0.1))
        return clips


def swap(path, other):
    kept = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(kept)


def replace(path, other):
    path.write_bytes(other.read_bytes())


def truncate(path, other):
    path.write_bytes(path.read_bytes()[:-100])


DAMAGES = [swap, replace, truncate]
