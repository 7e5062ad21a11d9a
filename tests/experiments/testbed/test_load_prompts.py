"""Held-out prompts: stable, distinct, of the asked relations, and with their own real audio."""

import numpy as np
import pytest

from experiments.testbed.corpus.scenes import render_scene, sample_scene
from experiments.testbed.plugin.load_prompts import PROMPT_FIRST_SEED, load_prompts, prompt_scene, reference_audio


def test_prompts_are_captions_of_held_out_scenes_and_the_first_ones_stay_first() -> None:
    few, many = load_prompts(5), load_prompts(40)
    assert many[:5] == few
    assert len({prompt.text for prompt in many}) == len({prompt.id for prompt in many}) == 40
    for prompt in many:
        scene = prompt_scene(prompt.id)
        assert scene.caption == prompt.text
        assert scene.relation in ("single", "while")
        assert scene == sample_scene(int(prompt.id[7:]), split="heldout")
    assert int(few[0].id[7:]) >= PROMPT_FIRST_SEED


def test_relations_are_chosen() -> None:
    assert {prompt_scene(p.id).relation for p in load_prompts(6, relations=["then"])} == {"then"}


def test_reference_audio_is_the_scene_at_any_length() -> None:
    prompt = load_prompts(1)[0]
    expected = render_scene(prompt_scene(prompt.id), 2.0)
    assert expected.shape == (32000,)
    np.testing.assert_array_equal(reference_audio(prompt.id, 2.0), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "data.count 0: accepted"),
        ({"count": "two"}, "data.count 'two': accepted are whole numbers from 1"),
        ({"relations": []}, r"data.relations \[\]: accepted"),
        ({"relations": ["during"]}, "accepted are some of single, while, then"),
    ],
)
def test_wrong_options_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_prompts(**arguments)


@pytest.mark.parametrize("prompt_id", ["audiocaps12", "testbed", "testbed12x"])
def test_a_foreign_id_is_refused(prompt_id: str) -> None:
    with pytest.raises(ValueError, match="accepted are testbed and a seed"):
        prompt_scene(prompt_id)
