"""Quality records by hand, for the tests of tables, figures and tracking."""

from listen_material import METHODS, clip, metric, run_record

from experiments.tables.intervals import STUDENT

DENSE, LITE, FOCUS = METHODS


def value(method, name="fad", number=2.0, duration=10, half=0.1, **changes):
    own = {"higher_is_better": False, "n_scored": 64, "details": {"interval": STUDENT}}
    changes = {**own, "low": number - half, "high": number + half, **changes}
    return metric("c", method, duration, name, number, **changes)


def clips_behind(*scores):
    """The clips that some scores are of; scores of one condition share them."""
    counts = {}
    for score in scores:
        place = (score.condition, score.duration_s)
        counts[place] = max(counts.get(place, (score.method, 0)), (score.method, score.n_scored), key=lambda p: p[1])
    return [
        clip(condition, method, duration, f"p{n}", "Rain", 0, f"audio/{condition}/p{n}_0.wav", b"")
        for (condition, duration), (method, count) in counts.items()
        for n in range(count)
    ]


def difference(method, baseline, number, half=0.1, **changes):
    return value(method, number=number, half=half, baseline=baseline, **changes)


def sweep_record():
    record = run_record(["a"], [10.0])
    for name, (same, cross, ratio) in {
        LITE: (True, True, 0.1),
        FOCUS: (True, False, 0.1),
        "more": (True, True, 0.4),
        "rest": (False, True, 0.1),
    }.items():
        patch = {"config": {"same_frequency": same, "cross_frequency": cross, "sparse_ratio": ratio}}
        record.config["methods"][name] = {"name": name, "label": name, "timing_only": False, "patch": patch}
    return record


THREE = [run_record(["a"], [10.0]), value(DENSE, number=3.0), value(LITE, number=1.0), value(FOCUS, number=2.0)]
HOSTILE = ["=cmd()", "a|b", "<script>", "50% & $x_1^2$ #~{}\\", "line\nbreak"]
