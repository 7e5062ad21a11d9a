"""The best of several clips of one prompt, by the cosine of audio and caption."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from networks import BandEmbedder, noise_clip, write_folder

from evaluation.files.pairing import Clip
from evaluation.presets import find_preset
from evaluation.run.candidates import keep_best
from evaluation.run.scorer import make_scorer, score_folder
from evaluation.scoring.intervals import compare

PROMPTS = {f"p{i}": f"caption {i}" for i in range(6)}
SEEDS = range(3)
ROLES = ("frames", "classifier", "text")


def clip(prompt, seed):
    return Clip(f"{prompt}_{seed}", Path(f"{prompt}_{seed}.wav"), prompt, "rain")


def test_the_highest_score_of_each_prompt_is_kept_under_the_prompts_name():
    clips = [clip("a", 0), clip("b", 0), clip("a", 1), clip("b", 1)]
    scores = {"a_0": 0.1, "a_1": 0.3, "b_0": -0.2, "b_1": -0.2}
    best = keep_best(clips, 2, scores)
    assert best.chosen == {"a": "a_1", "b": "b_0"}
    assert [(c.id, c.generated.name, c.prompt) for c in best.clips] == [("a", "a_1.wav", "a"), ("b", "b_0.wav", "b")]


def test_a_prompt_that_lacks_a_candidate_is_left_out_and_another_number_is_refused():
    clips = [clip("a", 0), clip("a", 1), clip("b", 0), clip("b", 1)]
    best = keep_best(clips, 2, {"a_0": 0.1, "a_1": 0.0, "b_0": 0.9})
    assert best.left_out == {"b": "1 of 2 candidates failed, first b_1"}
    assert set(best.chosen) == {"a"}
    with pytest.raises(
        ValueError, match=r"prompt a has 2 clips; this protocol takes the best of 3: .*seeds=\[0, 1, 2\]"
    ):
        keep_best(clips, 3, {})


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("audio")
    sides = {}
    for side, first in (("dense", 0), ("litefocus", 1000)):
        names = [f"{prompt}_{seed}" for prompt in PROMPTS for seed in SEEDS]
        write_folder(root / side, {name: noise_clip(first + i, 1, colour=i % 5 / 5) for i, name in enumerate(names)})
        sides[side] = [
            Clip(f"{prompt}_{seed}", root / side / f"{prompt}_{seed}.wav", prompt, text)
            for prompt, text in PROMPTS.items()
            for seed in SEEDS
        ]
    return sides


def scorer(preset, **options):
    judges = dict.fromkeys(ROLES, BandEmbedder())
    return make_scorer(preset, metrics=["clap"], embedders=judges, cache_dir=None, window_s=1.0, **options)


def test_scores_are_those_of_the_best_clip_of_each_prompt(folders):
    one = replace(find_preset("audioldm2"), candidates=1)
    every = score_folder(scorer(one), "dense", folders["dense"]).per_clip()
    score = score_folder(scorer("audioldm2"), "dense", folders["dense"])
    best = score.per_clip()
    assert set(best) == set(PROMPTS)
    for prompt in PROMPTS:
        values = {seed: every[f"{prompt}_{seed}"]["clap"] for seed in SEEDS}
        assert best[prompt]["clap"] == max(values.values()) > min(values.values())
        assert score.provenance["candidates"][prompt] == f"{prompt}_{max(values, key=values.get)}"
    assert (score.results[0].n_scored, score.results[0].n_failed) == (6, 0)


def test_two_methods_pair_by_prompt_whichever_clip_each_of_them_kept(folders):
    scores = {name: score_folder(scorer("audioldm2"), name, clips) for name, clips in folders.items()}
    kept = [score.provenance["candidates"] for score in scores.values()]
    assert kept[0] != kept[1]
    (difference, *_) = compare(scores["dense"], scores["litefocus"])
    values = [np.mean([row["clap"] for row in score.per_clip().values()]) for score in scores.values()]
    assert difference.value == pytest.approx(values[1] - values[0])
    assert difference.n_scored == 6


def test_a_damaged_candidate_leaves_its_prompt_out_and_counts_it_as_failed(folders, tmp_path):
    (tmp_path / "damaged.wav").write_bytes(b"RIFF")
    clips = [replace(c, generated=tmp_path / "damaged.wav") if c.id == "p2_1" else c for c in folders["dense"]]
    score = score_folder(scorer("audioldm2"), "dense", clips)
    assert score.failures == {"p2": "1 of 3 candidates failed, first p2_1"}
    assert (score.results[0].n_scored, score.results[0].n_failed) == (5, 1)


def test_a_clip_without_caption_is_refused(folders):
    with pytest.raises(ValueError, match="asked for metrics that cannot be computed|has no caption"):
        score_folder(scorer("audioldm2"), "dense", [replace(c, caption=None) for c in folders["dense"]])
