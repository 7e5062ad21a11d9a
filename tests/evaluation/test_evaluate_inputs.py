"""What a run does with inputs that fall short: references, prompts, clips, networks, protocols that do not fit."""

from dataclasses import replace

import pytest
from networks import BandEmbedder, noise_clip, write_folder

from evaluation.embedders.weights import WeightsError
from evaluation.evaluate import evaluate
from evaluation.files.pairing import Clip, PairingError
from evaluation.presets import PRESETS
from evaluation.run.scorer import make_scorer, score_folder
from evaluation.scoring.intervals import compare

NAMES = tuple(f"p{i}" for i in range(6))
CAPTIONS = {name: f"caption {name}" for name in NAMES}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("audio")
    for folder, seed, seconds in (("ref", 0, 1), ("long", 20, 3), ("gen", 50, 2), ("other", 90, 2)):
        write_folder(root / folder, {n: noise_clip(seed + i, seconds, colour=i / 20) for i, n in enumerate(NAMES)})
    return root


def judges(embedder=None):
    embedder = embedder or BandEmbedder()
    return {"frames": embedder, "classifier": embedder, "text": embedder}


def run(root, reference="ref", generated="gen", captions=CAPTIONS, **options):
    options = {"preset": "testbed", "embedders": judges(), "window_s": 1.0, "cache_dir": None, **options}
    return evaluate(reference and root / reference, root / generated, captions, **{"floors": False, **options})


def score(root, preset="testbed", names=NAMES, references=NAMES, metrics=("kl",), **options):
    protocol = (PRESETS[preset] if isinstance(preset, str) else preset).with_window(1.0)
    scorer = make_scorer(protocol, metrics=metrics, embedders=judges(), cache_dir=None, **options)
    clips = [Clip(name, root / "gen" / f"{name}.wav", name, CAPTIONS[name]) for name in names]
    return score_folder(scorer, "gen", clips, {name: root / "ref" / f"{name}.wav" for name in references})


@pytest.mark.parametrize("metric", ["kl", "fad"])
@pytest.mark.parametrize(("reference", "count"), [("ref", 1), ("long", 3)])
def test_aligned_references_must_be_as_long_as_their_clips(root, metric, reference, count):
    with pytest.raises(ValueError, match=f"the reference of p0 has {count} windows, the clip 2; aligned"):
        run(root, reference=reference, metrics=(metric,), aligned_references=True)


def test_aligned_crops_are_cut_alike_in_every_seed_of_a_prompt(root, tmp_path):
    copies = {f"{n}_{s}": noise_clip(20 + i, 3, colour=i / 20) for i, n in enumerate(NAMES) for s in (0, 1)}
    write_folder(tmp_path / "gen", copies)
    options = {"preset": "litefocus", "metrics": ("kl",), "embedders": judges(), "cache_dir": None, "window_s": 1.0}
    found = evaluate(root / "long", tmp_path / "gen", id_pattern="(.*)_[0-9]+", aligned_references=True, **options)
    assert found.value("kl") == pytest.approx(0.0, abs=1e-4), "the references themselves"
    apart = evaluate(root / "long", root / "gen", aligned_references=True, **options)
    assert apart.value("kl") > 1e-3


def test_an_id_is_given_to_one_clip_only(root):
    with pytest.raises(ValueError, match="gen: 1 clip ids are given twice, first p2; give every clip its own"):
        score(root, names=(*NAMES, "p2"))


@pytest.mark.parametrize("metric", ["kl", "fad"])
def test_a_clip_whose_prompt_has_no_reference_fails_by_name(root, metric):
    found = score(root, references=NAMES[:4], metrics=(metric, "clap"))
    assert found.failures == {"p4": "no reference for p4", "p5": "no reference for p5"}
    assert {(row.n_scored, row.n_failed) for row in found.results if row.metric in (metric, "clap")} == {(4, 2)}
    assert score(root, references=NAMES[:4], metrics=("clap",)).failures == {}, "no metric needs it"


def test_references_that_give_no_kernel_width_leave_kad_out(root, tmp_path):
    write_folder(tmp_path / "ref", dict.fromkeys(NAMES, noise_clip(0, 1)))
    (tmp_path / "gen").symlink_to(root / "gen")
    found = run(tmp_path, floors=True)
    assert found.not_computed["kad"] == "most references are the same"
    assert found.value("fad") > 0
    assert not any("kad" in row.metric for row in found.floors)
    with pytest.raises(ValueError, match=r"kad: most references are the same\); give what is missing, or leave"):
        run(tmp_path, metrics=("kad",))


def test_a_run_without_labels_has_its_other_floors(root):
    found = run(root, floors=True)
    assert found.not_computed["hit_rate"] == "no labels given"
    floors = {row.metric for row in found.floors}
    assert "floor_kl_bernoulli_shuffled_references" in floors
    assert "floor_hit_rate_reference" not in floors


def test_too_few_clips_leave_the_inception_score_out(root):
    found = run(root, preset="audioldm", captions=None)
    assert found.not_computed == {"is": "6 clips for 10 splits"}
    assert found.value("kl") == pytest.approx(run(root, preset="audioldm", metrics=("kl",)).value("kl"))
    six = run(root, preset=replace(PRESETS["audioldm"], is_splits=6), captions=None)
    assert six.not_computed == {"is": "6 clips for 6 splits"}, "one clip a split scores 1 whatever it is"
    assert run(root, preset=replace(PRESETS["audioldm"], is_splits=5), captions=None).value("is") > 1


def test_a_network_that_no_metric_needs_does_not_run(root):
    frames, others = BandEmbedder("frames"), BandEmbedder()
    found = run(root, reference=None, embedders={"frames": frames, "classifier": others, "text": others})
    assert (frames.calls, others.calls) == (0, 12)
    assert found.provenance["embedders"].keys() == {"text", "levels"}
    with pytest.raises(ValueError, match=r"cannot be computed \(fad: no reference given; clap: no captions given\)"):
        run(root, reference=None, captions=None, preset="published")


@pytest.mark.parametrize(
    ("preset", "change"),
    [
        ("testbed", {"kl_direction": "generated_to_reference"}),
        ("testbed", {"kl_eps": 1e-3}),
        ("testbed", {"kl_pooling": "mean_logits"}),
        ("testbed", {"is_splits": 3}),
        ("litefocus", {"crop_seeds": (7, 8)}),
    ],
)
def test_one_name_for_two_protocols_is_not_compared(root, preset, change):
    other = score(root, replace(PRESETS[preset], **change))
    with pytest.raises(ValueError, match=f"gen and gen differ in protocol: .*{next(iter(change))}"):
        compare(score(root, preset), other)


def test_a_folder_with_fewer_inputs_is_compared_in_what_both_have(root):
    both, fewer = score(root, metrics=("kl", "clap")), score(root, metrics=("kl",))
    assert {row.metric for row in compare(both, fewer) if row.window == -1} == {"kl", "kl_drift", "kl_slope"}


def test_without_strict_both_folders_are_scored_on_the_common_clips(root, tmp_path):
    fewer = write_folder(tmp_path / "fewer", {n: noise_clip(90 + i, 2) for i, n in enumerate(NAMES) if i > 0})
    (tmp_path / "gen").symlink_to(root / "gen")
    (tmp_path / "ref").symlink_to(root / "ref")
    options = {"metrics": ("fad", "kl"), "baseline": fewer}
    with pytest.raises(PairingError, match="1 without a generated clip: p0"):
        run(tmp_path, **options)
    found = run(tmp_path, strict=False, **options)
    assert {row.n_scored for row in (*found.results, *found.differences)} == {5}
    assert found.pairing["not_in_both"] == ["p0"]
    change = found.value("kl") - run(tmp_path, generated="fewer", strict=False, metrics=("kl",)).value("kl")
    row = next(r for r in found.differences if r.metric == "kl" and r.window == -1)
    assert row.value == pytest.approx(change, rel=1e-9)
    for path in fewer.iterdir():
        path.rename(path.with_name(f"x{path.name}"))
    with pytest.raises(PairingError, match="no clip"):
        run(tmp_path, reference=None, captions=None, strict=False, metrics=("level",), baseline=fewer)


def test_references_that_cannot_be_read_leave_a_score_without_them_and_its_floors_out(root, tmp_path):
    (tmp_path / "ref").mkdir()
    for name in NAMES:
        (tmp_path / "ref" / f"{name}.wav").write_bytes(b"not audio")
    (tmp_path / "gen").symlink_to(root / "gen")
    found = run(tmp_path, metrics=("clap",), floors=True)
    assert found.value("clap") == pytest.approx(run(root, metrics=("clap",)).value("clap"))
    assert found.floors == ()


def missing(root, **options):
    with pytest.raises(WeightsError) as caught:
        evaluate(root / "ref", root / "gen", CAPTIONS, cache_dir=None, window_s=1.0, **options)
    return str(caught.value)


def test_every_missing_weight_is_named_at_once_before_any_network_runs(root, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    text = missing(root, preset="audioldm", metrics=("fad", "kl", "clap"), weights={"cnn14_16k": "/no/such.pth"})
    assert [part for part in ("vggish-10086976.pth", "/no/such.pth", "630k-audioset-best.pt", "weights.tokenizer")
            if part not in text] == []  # fmt: skip
    frames = BandEmbedder()
    text = missing(root, embedders={"frames": frames}, weights={"clap": "typo", "cnn14_16k": str(root / "ref")})
    assert text == "typo does not exist; give the path of a weight file or folder"
    assert frames.calls == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": []}, r"metrics=\[\]: name at least one"),
        ({"metrics": "fad"}, r"metrics=fad: give a list, like metrics=\[fad\]"),
        ({"window_s": "1s"}, "window_s=1s: accepted is a number without a unit, above 0"),
        ({"window_s": float("nan")}, "window_s=nan: accepted is a number"),
        ({"duration_s": -1}, "duration_s=-1: accepted is a number"),
        ({"seed": "x"}, "seed=x: accepted is a whole number"),
        ({"batch_size": 2.5}, "batch_size=2.5: accepted is a whole number without a unit, from 1 on"),
        ({"device": "gpu"}, "device=gpu: torch sees cpu"),
        ({"strict": "no"}, "strict=no: accepted are true and false"),
        ({"preset": 3}, "preset 3; give one of strict,"),
        ({"captions": {"p0": ["a", "b"]}}, "'p0' has 2; say which counts"),
        ({"captions": {"p0": 3}}, "'p0' has 3; give text"),
        ({"captions": {"p0": [3]}}, "'p0' empty"),
    ],
)
def test_an_option_that_is_none_is_one_line_before_anything_is_loaded(root, options, message):
    with pytest.raises(ValueError, match=message):
        run(root, **options)
