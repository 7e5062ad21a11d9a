"""Labels of testbed clips: the events of their scenes, by the classifier's own indices, and none for foreign ids."""

import pytest

from experiments.testbed.corpus.scenes import EVENT_NAMES, sample_scene, write_corpus
from experiments.testbed.plugin.labels import event_labels
from experiments.testbed.plugin.load_prompts import load_prompts, prompt_scene


@pytest.mark.parametrize("relation", ["single", "while", "then"])
def test_a_prompt_is_labelled_with_the_events_of_its_scene(relation):
    for prompt in load_prompts(3, relations=[relation]):
        labels = event_labels(prompt.id)
        assert labels is not None
        assert [EVENT_NAMES[index] for index in labels.classes] == [e.name for e in prompt_scene(prompt.id).events]
        assert len(labels.classes) == (1 if relation == "single" else 2)
        assert labels.in_every_window == (relation != "then")


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_files_of_the_corpus_are_labelled_by_their_split(tmp_path, split):
    write_corpus(tmp_path, 3, 0.5, split)
    for path in tmp_path.glob("*.wav"):
        labels = event_labels(path.stem)
        assert labels is not None
        scene = sample_scene(int(path.stem[-7:]), split=split)
        assert [EVENT_NAMES[index] for index in labels.classes] == [event.name for event in scene.events]


@pytest.mark.parametrize("prompt_id", ["train 12", "train12", "a_0", "testbed30000000_0", "Yheldout0000001", "testbed"])
def test_foreign_ids_have_none(prompt_id):
    assert event_labels(prompt_id) is None
