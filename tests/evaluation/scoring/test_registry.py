"""One place for each metric, and a way in for a user's own, from a file outside the package."""

import sys
import textwrap

import numpy as np
import pytest
from networks import BandEmbedder, noise_clip, write_folder

from evaluation.__main__ import main
from evaluation.evaluate import evaluate
from evaluation.metric import Metric, SetValues
from evaluation.metrics.fad import frechet_distance
from evaluation.scoring.registry import METRICS, OWN, find_metric, load_extra, register
from evaluation.statistics.bootstrap import within_range

NAMES = ("a", "b", "c", "d", "e", "f")
BRIGHTNESS = """
import numpy as np
from evaluation.metric import Metric, SetValues

def brightness(features):
    return features.rows("classifier", "embedding").mean(axis=2)

def spread(features):
    rows = features.rows("classifier", "embedding")
    return SetValues(rows, lambda part, position: float(part.std()))

BRIGHTNESS = Metric("brightness", brightness, "classifier", True, unit="Hz", label="Brightness")
SPREAD = Metric("spread", spread, "classifier", None)
"""


@pytest.fixture(autouse=True)
def leave_the_registry_as_it_was():
    before = dict(METRICS)
    yield
    METRICS.clear()
    METRICS.update(before)


@pytest.fixture
def module(tmp_path, monkeypatch):
    def write(text, name="my_metrics_outside"):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, name, raising=False)
        return name

    return write


@pytest.fixture
def folders(tmp_path):
    clips = {name: noise_clip(i, 2, colour=i / 6) for i, name in enumerate(NAMES)}
    others = {name: noise_clip(20 + i, 2, colour=0.9) for i, name in enumerate(NAMES)}
    return write_folder(tmp_path / "gen", clips), write_folder(tmp_path / "base", others)


def options(**more):
    return {
        "preset": "testbed",
        "embedders": {"classifier": BandEmbedder()},
        "window_s": 1.0,
        "cache_dir": None,
        **more,
    }


def test_a_metric_from_outside_has_value_interval_curve_difference_and_clips(module, folders):
    generated, baseline = folders
    found = evaluate(
        None, generated, **options(baseline=baseline, extra=[module(BRIGHTNESS)], metrics=["brightness", "spread"])
    )
    import soundfile

    rows = []
    for name in NAMES:
        samples = soundfile.read(generated / f"{name}.wav", dtype="float32")[0]
        rows.append([r["embedding"].mean() for r in BandEmbedder().embed([samples[:8000], samples[8000:]])])
    by_hand = np.array(rows)
    (result,) = [r for r in found.results if r.metric == "brightness" and r.window < 0]
    assert result.value == pytest.approx(by_hand.mean(), rel=1e-6)
    assert result.low < result.value < result.high
    details = {"label": "Brightness", "unit": "Hz", "interval": "student t", "units": 6}
    assert (result.higher_is_better, result.details) == (True, details)
    assert found.value("brightness_drift") == pytest.approx((by_hand[:, 1] - by_hand[:, 0]).mean(), rel=1e-5)
    assert found.per_clip["c"]["brightness"] == pytest.approx(by_hand[2].mean(), rel=1e-6)
    assert {d.metric for d in found.differences} >= {"brightness", "spread"}
    assert "spread" not in found.per_clip["c"]


def test_an_interval_ends_where_its_metric_does_and_that_of_a_difference_does_not(folders):
    # Four of six clips hold the sound in the first window, five in the second; one of the baseline's in the second.
    held, lost = np.ones((6, 2)), np.zeros((6, 2))
    held[5], held[4, 0], lost[0, 1] = 0, 0, 1

    def in_turn():
        values = iter((held, lost))
        return lambda features: next(values)

    metrics = [Metric("share", in_turn(), None, True, within=(0, 1)), Metric("number", in_turn(), None, True)]
    generated, baseline = folders
    found = evaluate(None, generated, **options(baseline=baseline, metrics=metrics))
    bounds = {(r.metric, r.window, r.baseline): (r.low, r.high) for r in (*found.results, *found.differences)}
    half = 2.570582 * np.sqrt(5 / 36 / 5)  # Student's t with 5 degrees of freedom
    assert bounds["number", 1, ""] == pytest.approx((5 / 6 - half, 5 / 6 + half), rel=1e-6)
    assert bounds["share", 1, ""] == pytest.approx((5 / 6 - half, 1), rel=1e-6)
    assert bounds["share_drift", -1, ""] == bounds["number_drift", -1, ""]
    assert bounds["share_drift", -1, ""][0] < 0
    (name,) = {r.baseline for r in found.differences}
    for window in (-1, 0, 1):
        assert bounds["share", window, name] == bounds["number", window, name]
    assert bounds["share", 0, name][1] > 1
    assert bounds["share_drift", -1, name] == bounds["number_drift", -1, name]


def test_rounding_leaves_a_value_inside_its_bounds():
    assert within_range(-0.2, 0.1, -1e-9, (0, np.inf)) == (-1e-9, 0.1)
    assert np.isnan(within_range(np.nan, np.nan, 0.5, (0, 1))).all()


def test_extra_metrics_join_those_of_the_preset_and_the_command_line_takes_them(module, folders, capsys):
    found = evaluate(None, folders[0], **options(extra=[module(BRIGHTNESS)], embedders={
        role: BandEmbedder() for role in ("frames", "classifier", "text")
    }))  # fmt: skip
    assert {"brightness", "level", "silence"} <= {r.metric for r in found.results}
    name = module("from evaluation.metric import Metric\nM = Metric('loudest', lambda f: f.rows(None, 'embedding')"
                  "[..., 0], None, True)")  # fmt: skip
    assert main([f"generated={folders[0]}", f"extra={name}", "metrics=loudest", "cache_dir=null", "window_s=1"]) == 0
    assert "loudest ↑" in capsys.readouterr().out


def test_a_network_of_its_own_fills_a_role_of_its_own(folders):
    ears = Metric("heard_by_ears", lambda f: f.rows("ears", "embedding")[..., 0], "ears", False)
    found = evaluate(None, folders[0], **options(metrics=[ears], embedders={"ears": BandEmbedder()}))
    assert np.isfinite(found.value("heard_by_ears"))
    with pytest.raises(ValueError, match=r"preset testbed has no embedder for 'ears'; hand one over: embedders.ears"):
        evaluate(None, folders[0], **options(metrics=[ears], embedders={}))


def test_what_a_metric_needs_is_asked_for_in_one_line(folders):
    needy = Metric("needy", lambda f: f.rows(None, "embedding")[..., 0], None, True, frozenset({"captions"}))
    with pytest.raises(ValueError, match=r"needy: no captions given"):
        evaluate(None, folders[0], **options(metrics=[needy]))


def test_clips_of_different_lengths_take_the_form_that_the_metric_names(tmp_path):
    clips = {name: noise_clip(i, 1 + i % 2) for i, name in enumerate(NAMES)}
    folder = write_folder(tmp_path / "mixed", clips)
    each = Metric("each", lambda f: f.rows("classifier", "embedding")[..., 0], "classifier", True)
    first = Metric(
        "first", lambda f: SetValues(f.rows("classifier", "embedding"), lambda part, _: float(len(part))),
        "classifier", None, uneven="first",
    )  # fmt: skip
    found = evaluate(None, folder, **options(metrics=[each, first]))
    assert set(found.per_clip) == set(NAMES)
    assert found.value("first") == len(NAMES)
    (result,) = [r for r in found.results if r.metric == "first" and r.window < 0]
    assert result.details["windows"] == 1


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("x = 1", ValueError, "it holds no evaluation.metric.Metric"),
        ("import no_such_module_at_all", ImportError, "No module named 'no_such_module_at_all'"),
        ("M = Metric('clap', print, 'text', True)", ValueError, "'clap' is this package's own"),
        ("M = Metric('My Metric', print, 'text', True)", ValueError, "accepted are small letters"),
        ("M = Metric('mine_drift', print, 'text', True)", ValueError, "of derived numbers"),
        ("M = Metric('mine', print, 'text', True, within=(1, 0))", ValueError, "the least and the greatest value"),
        ("M = Metric('mine', None, 'text', True)", ValueError, "measure is None; give a function"),
        ("M = Metric('mine', print, 'text', 'up')", ValueError, "give True, False or None"),
        ("M = Metric('mine', print, 'text', True, {'money'})", ValueError, "needs 'money'; accepted are reference"),
        ("M, N = (Metric('mine', f, 'text', True) for f in (print, len))", ValueError, "'mine' stands twice"),
    ],
)
def test_a_metric_that_lacks_something_is_refused_in_one_line(module, text, error, message):
    with pytest.raises(error, match=message) as raised:
        load_extra([module(f"from evaluation.metric import Metric\n{text}")])
    assert "\n" not in str(raised.value)


def test_values_of_another_shape_are_refused(folders):
    flat = Metric("flat", lambda f: np.zeros(len(f.clips)), None, True)
    with pytest.raises(ValueError, match=r"metric flat gave values of shape \(6,\) for 6 clips"):
        evaluate(None, folders[0], **options(metrics=[flat]))
    with pytest.raises(ValueError, match=r"extra=my.module: give a list of modules, like extra=\[my.module\]"):
        load_extra("my.module")


def test_a_metric_defined_again_in_a_notebook_replaces_the_earlier_one():
    first, second = (Metric("mine", f, None, True) for f in (print, len))
    assert (register(first), register(second)) == ("mine", "mine")
    assert find_metric("mine") is second
    with pytest.raises(ValueError, match=r"metric 'yours'; give some of fad, .*mine"):
        find_metric("yours")


def test_own_metrics_say_everything_and_their_labels_have_a_word_for_each_of_the_name():
    # Labels of derived numbers (KL drift) are put together word by word from these.
    for name in OWN:
        metric = METRICS[name]
        assert len(metric.label.split()) == len(name.split("_"))
        assert metric.measure or metric.finished
        assert ("pairs" not in metric.needs) or "reference" in metric.needs
    assert frechet_distance(np.eye(3), np.eye(3)) == pytest.approx(0, abs=1e-9)
