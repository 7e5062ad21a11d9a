"""Shards: an exact partition, the same everywhere, balanced, and stable where the run grows."""

import functools
from dataclasses import replace

import pytest
from clip_material import FakePipeline, method
from hypothesis import given, settings
from hypothesis import strategies as st
from start_material import ENVIRONMENT, PIPELINE

from experiments.datasets.prompts import Prompt, subset_ids
from experiments.matrix.clips import plan_clips
from experiments.matrix.conditions import Condition
from experiments.matrix.shards import Shard, assign, group_of, predicted_flops
from experiments.records import ClipRecord, RunRecord, append_record, of_kind, read_records, record_files
from experiments.records.folder import locked
from experiments.stages.generate import generate_clips
from litefocus import LiteFocusConfig, TokenGrid
from litefocus.cost import unet_step_cost

PAPER_DURATIONS = (10.0, 20.0, 40.0, 80.0)


METHODS = [method("dense"), method("litefocus", LiteFocusConfig())]


def plan(prompts, seeds, durations, methods=METHODS):
    conditions = [Condition(m, d, 2, 3.5) for d in durations for m in methods]
    return plan_clips(conditions, [Prompt(i, f"caption {i}") for i in prompts], seeds)


@functools.cache
def paper(seeds=(0, 1, 2)):
    methods = [*METHODS, method("focus_only", LiteFocusConfig(cross_frequency=False))]
    methods.append(method("compensation_only", LiteFocusConfig(same_frequency=False)))
    return plan(subset_ids("886"), list(seeds), PAPER_DURATIONS, methods)


@settings(max_examples=60, deadline=None)
@given(
    prompts=st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=12, unique=True),
    seeds=st.lists(st.integers(0, 50), min_size=1, max_size=3, unique=True),
    durations=st.lists(st.sampled_from([1.0, 5.12, 10.0, 80.0]), min_size=1, max_size=3, unique=True),
    count=st.integers(1, 9),
    data=st.data(),
)
def test_every_clip_is_in_exactly_one_shard_whatever_the_order(prompts, seeds, durations, count, data):
    clips = plan(prompts, seeds, durations)
    parts = [Shard(index, count).select(clips) for index in range(count)]
    assert sorted(c.audio for part in parts for c in part) == sorted(c.audio for c in clips)
    for part in parts:
        # Methods pair: a group is whole.
        assert len(part) == len(METHODS) * len({group_of(c) for c in part})
    shuffled = plan(data.draw(st.permutations(prompts)), data.draw(st.permutations(seeds)), durations[::-1])
    assert assign(shuffled, count) == assign(clips, count)


@pytest.mark.parametrize("count", [8, 64])
@pytest.mark.parametrize("exponent", [1, 1.5, 2])
def test_shards_of_the_paper_sweep_end_together_even_where_the_cost_model_is_wrong(count, exponent):
    shards = assign(paper(), count)
    loads = [0.0] * count
    for clip in paper():
        loads[shards[group_of(clip)]] += clip.condition.duration_s**exponent
    assert max(loads) / (sum(loads) / count) < 1.01


def test_shards_of_the_paper_sweep_are_balanced_by_predicted_cost_to_a_thousandth():
    cost = functools.cache(predicted_flops)
    shards = assign(paper(), 64)
    loads = [0] * 64
    for clip in paper():
        loads[shards[group_of(clip)]] += cost(clip.condition)
    assert max(loads) / (sum(loads) / 64) < 1.001


def test_a_new_seed_moves_no_clip_and_is_dealt_out_evenly():
    before, after = assign(paper((0, 1)), 16), assign(paper((0, 1, 2)), 16)
    assert {group: after[group] for group in before} == before
    new = [0.0] * 16
    for group, shard in after.items():
        if group not in before:
            new[shard] += group.duration_s
    assert max(new) / (sum(new) / 16) < 1.03


def test_the_assignment_is_pinned_so_that_other_versions_and_machines_agree():
    shards = assign(plan("abcde", [0, 1], (10.0, 20.0)), 3)
    assert [shards[group] for group in sorted(shards)] == [2, 1, 1, 2, 2, 1, 1, 0, 2, 0, 1, 0, 1, 0, 2, 2, 0, 2, 0, 1]


@pytest.mark.parametrize(("index", "count"), [(3, 3), (-1, 2), (0, 0), (0.0, 2), (True, 2), ("0", 2)])
def test_a_shard_that_does_not_exist_is_refused(index, count):
    with pytest.raises(ValueError, match=r"0 <= index < count"):
        Shard(index, count)


def test_names_sort_as_numbers():
    assert Shard(3, 8).records_file == "records.shard-03-of-08.jsonl"
    assert Shard(3, 1000).name == "shard-0003-of-1000"
    assert Shard().records_file == "records.jsonl"


def generate(shard, run_dir, clips, run_id="r", fail_at=None):
    pipeline = FakePipeline(fail_at=fail_at)
    generate_clips(pipeline, shard.select(clips), run_dir, run_id, file_name=shard.records_file)
    return pipeline


def recorded(run_dir):
    return sorted(record.audio for record in of_kind(read_records(run_dir), ClipRecord))


def test_an_interrupted_shard_is_run_again_alone_and_the_folder_is_whole(tmp_path):
    clips = plan("abcdefgh", [0], (0.5, 1.0))
    second = Shard(1, 3)
    generate(Shard(0, 3), tmp_path, clips)
    with pytest.raises(KeyboardInterrupt):
        generate(second, tmp_path, clips, fail_at=3)
    generate(Shard(2, 3), tmp_path, clips)
    others = {path: path.read_bytes() for path in record_files(tmp_path) if "01-of-03" not in path.name}
    assert len(recorded(tmp_path)) == len(clips) - (len(second.select(clips)) - 2)
    generate(second, tmp_path, clips)
    assert recorded(tmp_path) == sorted(clip.audio for clip in clips)
    assert {path: path.read_bytes() for path in others} == others


def test_what_one_shard_did_no_other_division_does_again(tmp_path):
    clips = plan("abcdefgh", [0], (0.5, 1.0))
    for index in range(3):
        generate(Shard(index, 3), tmp_path, clips)
    larger = plan("abcdefghi", [0, 1], (0.5, 1.0))
    made = [len(generate(Shard(index, 4), tmp_path, larger).calls) for index in range(4)]
    assert sum(made) == len(larger) - len(clips)
    assert recorded(tmp_path) == sorted(clip.audio for clip in larger)
    assert generate(Shard(), tmp_path, larger).calls == []


def run_record(run_id, started_at):
    return RunRecord(run_id, started_at, {}, ENVIRONMENT, PIPELINE, [])


def test_records_of_all_shards_are_read_in_the_order_of_their_starts(tmp_path):
    first, second = Shard(0, 2).records_file, Shard(1, 2).records_file
    append_record(tmp_path, run_record("b", "2026-01-02"), first)
    append_record(tmp_path, run_record("a", "2026-01-01"), second)
    append_record(tmp_path, run_record("d", "2026-01-04"), second)
    append_record(tmp_path, run_record("c", "2026-01-03"))
    append_record(tmp_path, run_record("e", "2025-01-01"))  # A clock went back: the order within a file stays.
    assert [record.run_id for record in read_records(tmp_path)] == ["a", "b", "c", "e", "d"]


def test_numbered_starts_are_read_by_number_whatever_their_dates_and_after_older_ones(tmp_path):
    """A machine whose clock is ahead: what is made after it would count as older, and be made again for ever."""
    first, second = Shard(0, 2).records_file, Shard(1, 2).records_file
    append_record(tmp_path, run_record("old", "2999-01-01"), second)
    append_record(tmp_path, replace(run_record("ahead", "9999-12-31"), number=1), first)
    append_record(tmp_path, replace(run_record("late", "2026-01-01"), number=3), second)
    append_record(tmp_path, replace(run_record("whole", "2001-01-01"), number=2))
    assert [record.run_id for record in read_records(tmp_path)] == ["old", "ahead", "whole", "late"]


def test_shards_share_a_folder_with_each_other_and_with_nobody_else(tmp_path):
    with locked(tmp_path, "shard-00-of-02"):
        with locked(tmp_path, "shard-01-of-02"):
            pass
        for shard in ("shard-00-of-02", ""):
            with pytest.raises(ValueError, match="is in use by process"), locked(tmp_path, shard):
                pass
    with locked(tmp_path), pytest.raises(ValueError, match="is in use by process"), locked(tmp_path, "shard-00-of-02"):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("config", [None, LiteFocusConfig()], ids=["dense", "litefocus"])
def test_predicted_flops_are_those_of_the_published_unet(config):
    torch = pytest.importorskip("torch")
    from diffusers import AudioLDM2UNet2DConditionModel

    from experiments.pipelines.audioldm2_config import PUBLISHED_AUDIOLDM2_UNET

    with torch.device("meta"):
        unet = AudioLDM2UNet2DConditionModel.from_config(PUBLISHED_AUDIOLDM2_UNET)
    counted = unet_step_cost(unet, TokenGrid(40 * 25, 16), 2, config or "dense").total
    assert predicted_flops(Condition(method("m", config), 40.0, 1, 3.5)) == pytest.approx(counted, rel=0.02)
