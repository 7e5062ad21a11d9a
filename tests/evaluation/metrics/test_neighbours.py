"""Precision, recall, density, coverage: closed forms, the definition written out, and numbers of the package prdc."""

import numpy as np
import pytest
from networks import BandEmbedder, noise_clip, write_folder

from evaluation.evaluate import evaluate
from evaluation.metrics.neighbours import NEIGHBOURHOODS, References


def four_numbers(reference, generated, nearest=5):
    found = References(reference, nearest)
    return {what: found.value(what, generated) for what in NEIGHBOURHOODS}


def by_definition(reference, generated, k):
    def distances(a, b):
        return np.linalg.norm(a[:, None] - b, axis=-1)

    of_reference = np.sort(distances(reference, reference), axis=1)[:, k]
    of_generated = np.sort(distances(generated, generated), axis=1)[:, k]
    across = distances(reference, generated)
    return {
        "precision": (across < of_reference[:, None]).any(axis=0).mean(),
        "recall": (across < of_generated).any(axis=1).mean(),
        "density": (across < of_reference[:, None]).sum(axis=0).mean() / k,
        "coverage": (across.min(axis=1) < of_reference).mean(),
    }


@pytest.mark.parametrize("nearest", [1, 5])
@pytest.mark.parametrize("shift", [0.0, 1.0, 1e6])
def test_the_four_numbers_are_their_definitions(nearest, shift, monkeypatch):
    generator = np.random.default_rng(3)
    reference, generated = generator.normal(size=(60, 4)), generator.normal(0.5, 1.3, size=(47, 4))
    expected = by_definition(reference, generated, nearest)
    monkeypatch.setattr("evaluation.metrics.kernels._BLOCK_ROWS", 16)
    found = four_numbers(reference + shift, generated + shift, nearest=nearest)
    assert found == pytest.approx(expected, abs=1e-9)


def test_numbers_of_the_package_prdc():
    """prdc 0.2 on default_rng(0): normal (500, 16) against normal(0.2, 0.9, (400, 16)), nearest_k=5."""
    generator = np.random.default_rng(0)
    reference, generated = generator.normal(size=(500, 16)), generator.normal(0.2, 0.9, size=(400, 16))
    found = four_numbers(reference, generated)
    expected = {"precision": 0.9525, "recall": 0.68, "density": 1.5155, "coverage": 0.946}
    assert found == pytest.approx(expected, abs=1e-12)


def test_closed_forms_on_a_line():
    line = np.arange(10.0)[:, None]
    same = four_numbers(line, line, nearest=1)
    assert same == {"precision": 1.0, "recall": 1.0, "density": 1.0, "coverage": 1.0}
    far = four_numbers(line, line + 100, nearest=1)
    assert far == dict.fromkeys(NEIGHBOURHOODS, 0.0)
    collapsed = four_numbers(line, np.full((7, 1), 4.25), nearest=1)
    assert collapsed == {"precision": 1.0, "recall": 0.0, "density": 2.0, "coverage": 0.2}


@pytest.mark.parametrize("what", NEIGHBOURHOODS)
def test_leaving_groups_out_is_computing_anew_without_them(what):
    generator = np.random.default_rng(4)
    reference, generated = generator.normal(size=(30, 3)), generator.normal(0.4, size=(28, 3))
    groups = np.arange(28) % 4
    found = References(reference)
    expected = [found.value(what, generated[groups != group]) for group in range(4)]
    np.testing.assert_allclose(found.without_groups(what, generated, groups), expected)
    assert len(set(expected)) > 1


def test_too_few_rows_are_refused():
    rows = np.random.default_rng(0).normal(size=(6, 2))
    with pytest.raises(ValueError, match="reference has 5 rows; a ball to the 5th neighbour takes more"):
        four_numbers(rows[:5], rows)
    assert np.isnan(References(rows).value("recall", rows[:3]))


@pytest.fixture
def root(tmp_path):
    for folder, seed, count in (("ref", 0, 14), ("gen", 50, 12)):
        write_folder(
            tmp_path / folder, {f"{folder}{i:02}": noise_clip(seed + i, 1, colour=i / 20) for i in range(count)}
        )
    return tmp_path


class FramesOnly(BandEmbedder):
    outputs = ("frames",)


def run(root, metrics, **options):
    options = {"preset": "testbed", "window_s": 1.0, "cache_dir": None, "paired": False, **options}
    return evaluate(root / "ref", root / "gen", metrics=metrics, **options)


def embeddings(folder, output="embedding"):
    import soundfile

    rows = [soundfile.read(path, dtype="float32")[0] for path in sorted(folder.iterdir())]
    return np.stack([row[output] for row in BandEmbedder().embed(rows)])


def test_two_folders_on_the_classifier_and_on_any_other_network(root):
    metrics = (*NEIGHBOURHOODS, *(f"{what}_on_ears" for what in (*NEIGHBOURHOODS, "fad", "kad")), "kad_on_frames_only")
    judges = {"classifier": BandEmbedder(), "ears": BandEmbedder("2"), "frames_only": FramesOnly()}
    found = run(root, metrics, embedders=judges)
    expected = four_numbers(embeddings(root / "ref"), embeddings(root / "gen"))
    for what, value in expected.items():
        assert found.value(what) == found.value(f"{what}_on_ears") == pytest.approx(value)
        row = next(r for r in found.results if r.metric == what)
        assert (row.n_scored, row.n_references, row.details["nearest"]) == (12, 14, 5)
        # A value that leaving a clip out does not change has no interval.
        assert np.isnan([row.low, row.high]).all() or row.low <= row.value <= row.high
    alone = run(root, ("fad", "kad"), embedders=dict.fromkeys(("frames", "classifier"), BandEmbedder()))
    for metric in ("fad", "kad"):
        assert found.value(f"{metric}_on_ears") == pytest.approx(alone.value(metric), rel=1e-9)
    assert found.value("kad_on_frames_only") == pytest.approx(alone.value("kad"), rel=1e-4), "frames have its mean"
    floors = {row.metric: row.value for row in found.floors}
    assert 0 < floors["floor_precision_halves"] <= 1
    assert "floor_kad_on_frames_only_halves" in floors


def test_few_clips_leave_the_neighbourhoods_out_with_the_reason(root):
    for path in sorted((root / "gen").iterdir())[5:]:
        path.unlink()
    found = run(root, ("precision", "kad"), embedders={"classifier": BandEmbedder()})
    assert found.not_computed == {"precision": "5 clips; it takes at least 6"}


def test_an_unknown_network_is_named(root):
    with pytest.raises(ValueError, match="preset strict has no embedder for 'nose'"):
        run(root, ("kad_on_nose",), preset="strict")
    with pytest.raises(ValueError, match=r"metric 'kod_on_ast'; give some of .*like kad_on_ast"):
        run(root, ("kod_on_ast",))
