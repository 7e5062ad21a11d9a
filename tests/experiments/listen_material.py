"""A synthetic run folder: real wavs and records of chosen prompts, lengths and methods, with gaps on request."""

import hashlib
import io

import numpy as np
import soundfile
from start_material import ENVIRONMENT

from experiments.records import ClipRecord, FailureRecord, MetricRecord, RunRecord, TimingRecord, append_record

RATE = 16000
METHODS = {"dense": "Dense (SDPA)", "litefocus": "LiteFocus", "focus_only": "Focus only"}


def run_record(prompt_ids, durations, methods=METHODS, seeds=(0,), **config):
    entries = {name: {"name": name, "label": label, "timing_only": False} for name, label in methods.items()}
    return RunRecord(
        run_id="r",
        started_at="2026-11-23T20:00:00+00:00",
        config={
            "name": "synthetic",
            "stages": ["generate", "report"],
            "methods": entries,
            "durations": list(durations),
            "steps": 2,
            "guidance": 3.5,
            "seeds": list(seeds),
            **config,
        },
        environment=ENVIRONMENT,
        pipeline={"name": "synthetic", "trained": True, "training_length_s": 10.0, "sample_rate": RATE},
        prompt_ids=list(prompt_ids),
    )


def tone_wav(frequency_hz, duration_s, seed):
    """Bytes of a wav: a decaying, repeated tone over a little noise."""
    time_s = np.arange(round(duration_s * RATE)) / RATE
    noise = np.random.default_rng(seed).normal(0, 0.004, len(time_s))
    samples = 0.5 * np.sin(2 * np.pi * frequency_hz * time_s) * np.exp(-3 * (time_s % 0.5)) + noise
    out = io.BytesIO()
    soundfile.write(out, samples, RATE, subtype="PCM_16", format="WAV")
    return out.getvalue()


def make_run(folder, captions, durations, methods=METHODS, seeds=(0,), skip=(), fail=(), scores=True):
    """Write a run; captions: id -> text; skip and fail: (prompt id, duration, method) without a clip."""
    append_record(folder, run_record(captions, durations, methods, seeds))
    per_clip = {}
    for p, (prompt_id, caption) in enumerate(captions.items()):
        for duration in durations:
            for m, method in enumerate(methods):
                for seed in seeds:
                    if (prompt_id, duration, method) in skip:
                        continue
                    condition = f"{method}_{duration:g}s_2steps_g3.5"
                    if (prompt_id, duration, method) in fail:
                        append_record(folder, failure(condition, method, duration, prompt_id, seed))
                        continue
                    content = tone_wav(220 * 1.06 ** (p % 24) * (1 + m / 8), duration, p + seed)
                    audio = f"audio/{condition}/{prompt_id}_{seed}.wav"
                    (folder / audio).parent.mkdir(parents=True, exist_ok=True)
                    (folder / audio).write_bytes(content)
                    append_record(folder, clip(condition, method, duration, prompt_id, caption, seed, audio, content))
                    per_clip.setdefault((condition, method, duration), {})[f"{prompt_id}_{seed}"] = (p + m) / 100
    if scores:
        for (condition, method, duration), values in per_clip.items():
            append_record(folder, metric(condition, method, duration, per_clip=values))


def clip(condition, method, duration, prompt_id, caption, seed, audio, content):
    return ClipRecord(
        run_id="r",
        condition=condition,
        method=method,
        duration_s=float(duration),
        steps=2,
        guidance=3.5,
        prompt_id=prompt_id,
        caption=caption,
        seed=seed,
        audio=audio,
        sha256=hashlib.sha256(content).hexdigest(),
        sample_rate=RATE,
        samples=round(duration * RATE),
        latency_s=1.0,
        step_s=0.25,
        decode_s=0.1,
    )


def failure(condition, method, duration, prompt_id, seed, reason="7 non-finite samples in the generated audio"):
    return FailureRecord("r", "generate", condition, method, float(duration), reason, prompt_id, seed)


def metric(condition, method, duration, name="clap", value=None, per_clip=None, **changes):
    """A record of one metric; its value is the mean of its clips, 0.3 without clips."""
    if value is None:
        value = sum(per_clip.values()) / len(per_clip) if per_clip else 0.3
    fields = {
        "run_id": "r",
        "condition": condition,
        "method": method,
        "duration_s": float(duration),
        "preset": "strict",
        "metric": name,
        "value": value,
        "low": value - 0.02,
        "high": value + 0.02,
        "n_scored": 8 if per_clip is None else len(per_clip),
        "n_failed": 0,
        "unit": "clip",
        "higher_is_better": True,
        "details": {} if per_clip is None else {"per_clip": per_clip},
    }
    return MetricRecord(**{**fields, **changes})


def timing(duration=10.0, **latencies):
    labels = dict.fromkeys(latencies, "x")
    memory = dict.fromkeys(latencies, 1.0)
    return TimingRecord("r", duration, 2, 250, 16, "dense", "no_attention", labels, latencies, memory)
