"""Synthetic records of a probe: losses with a known effect, attention structures with a known shape."""

from start_material import ENVIRONMENT

from experiments.records import AttentionRecord, ProbeLossRecord, ProbeRunRecord
from experiments.records.site_structure import SiteStructure, uniform_offsets
from experiments.tables.probe_rows import structure_values

LABELS = {"dense": "Dense (SDPA)", "litefocus": "LiteFocus", "deleted": "Sites deleted"}


def probe_run(durations=(5.0,), levels=(500,), labels=LABELS):
    methods = {name: {"name": name, "label": label, "timing_only": False} for name, label in labels.items()}
    return ProbeRunRecord(
        run_id="p",
        started_at="2026-11-25T02:00:00+00:00",
        config={"name": "probes", "methods": methods, "durations": list(durations), "levels": list(levels)},
        environment=ENVIRONMENT,
        pipeline={"name": "testbed", "trained": True, "training_length_s": 5.12, "sample_rate": 16000},
        prompt_ids=["a", "b"],
    )


def loss(method, losses, *, duration=5.0, t=500, noise=0, keys=None, clips="ab"):
    return ProbeLossRecord("p", method, duration, t, noise, keys, list(clips), list(losses))


def structure(site="a", frequency=(0.5, 0.5), time=(0.25, 0.75), t=500):
    return SiteStructure(
        site=site,
        t=t,
        frames=len(time),
        frames_per_second=2.0,
        same_frequency=frequency[0],
        uniform_same_frequency=1 / len(frequency),
        entropy_gap_nat=0.25,
        far_same_frequency=0.125,
        frequency_mass=list(frequency),
        frequency_uniform=uniform_offsets(len(frequency)),
        time_mass=list(time),
        time_uniform=uniform_offsets(len(time)),
        joint_mass=[[share * mass for mass in frequency] for share in time],
    )


def attention(duration=5.0, **changes):
    return AttentionRecord("p", duration, ["a"], structure_values(structure(**changes)))
