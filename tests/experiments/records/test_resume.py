"""A run folder has one writer and one set of settings."""

import os
import platform
import re
import subprocess
import sys

import pytest
from start_material import ENVIRONMENT, PIPELINE

from experiments.records import RunRecord
from experiments.records.folder import (
    CLIP_KEYS,
    PROBE_KEYS,
    _owner,
    check_same_settings,
    check_same_spelling,
    check_same_weights,
    check_writable,
    locked,
    shared_settings,
)

LITE = {"name": "litefocus", "label": "L", "timing_only": False, "patch": {"config": {"sparse_ratio": 0.1}}}
DENSE = {"name": "dense", "label": "D", "timing_only": False, "patch": {"_target_": "x"}}


def config(**changes):
    base = {
        "pipeline": {"name": "p", "path": None, "steps": 2},
        "dtype": "float32",
        "exact_batches": True,
        "methods": {"a": LITE, "b": DENSE},
        "method": DENSE,
    }
    return {**base, **changes}


def record(**changes):
    return RunRecord("r", "now", config(**changes), ENVIRONMENT, PIPELINE, [])


def test_the_same_settings_pass_and_so_do_new_methods_steps_and_labels():
    check_same_settings([record()], config())
    check_same_settings([record()], config(methods={"a": LITE}))
    check_same_settings([record(methods={"b": DENSE})], config())
    check_same_settings([record()], config(pipeline={"name": "p", "path": None, "steps": 50}))
    check_same_settings([record()], config(methods={"a": {**LITE, "label": "other"}}))
    check_same_settings([record(methods={"z": LITE})], config())


def test_chunked_decoding_turned_on_or_off_is_refused():
    chunks = {"beyond_frames": 2048}
    for before, now in ((None, chunks), (chunks, None)):
        with pytest.raises(ValueError, match=r"decode_in_chunks.beyond_frames was (None, now 2048|2048, now None)"):
            check_same_settings([record(decode_in_chunks=before)], config(decode_in_chunks=now))
    check_same_settings([record(decode_in_chunks=None)], config(decode_in_chunks=None))
    # A record of before there was such a setting says nothing about it.
    check_same_settings([record()], config(decode_in_chunks=chunks))


def test_methods_with_a_dot_in_their_name_may_come_and_go():
    ratios = {f"litefocus_r0.{n}": {**LITE, "name": f"litefocus_r0.{n}"} for n in (1, 10, 3)}
    check_same_settings([record(methods={"a": DENSE})], config(methods=ratios))
    check_same_settings([record(methods=ratios)], config(methods={"x": ratios["litefocus_r0.1"]}))
    changed = {**ratios["litefocus_r0.10"], "patch": {"config": {"sparse_ratio": 0.2}}}
    with pytest.raises(
        ValueError, match=r"settings: method litefocus_r0\.10\.patch\.config\.sparse_ratio was 0\.1, now 0\.2;"
    ):
        check_same_settings([record(methods=ratios)], config(methods={"x": changed}))


def test_what_only_describes_a_method_does_not_stop_a_resume():
    check_same_settings([record()], config(methods={"a": {**LITE, "needs_schedule": True, "parts": ["x"]}}))


def moved(module, options=None, ratio=1):
    """A configuration whose pipeline, method and references live in `module`."""
    lite = {**LITE, "patch": {"_target_": f"{module}.patched", "config": {"_target_": f"{module}.Config", "r": 1}}}
    several = {
        **DENSE,
        "patch": {"_target_": f"{module}.chain", "patches": [{"_target_": f"{module}.one", "r": ratio}]},
    }
    return probe_config(
        pipeline={"_target_": f"{module}.Diffusers", "name": "p", "path": None, **(options or {})},
        methods={"a": lite, "b": several},
        front_end={"_target_": f"{module}.mel"},
        data={"references": {"_target_": f"{module}.render", "count": 2}},
    )


@pytest.mark.parametrize("keys", [CLIP_KEYS, PROBE_KEYS])
def test_code_that_moved_to_another_module_does_not_stop_a_resume(keys):
    made = RunRecord("r", "now", moved("old.place"), ENVIRONMENT, PIPELINE, [])
    check_same_settings([made], moved("new"), keys)
    with pytest.raises(ValueError, match=r"settings: pipeline\.path was None, now 'x'; set another name"):
        check_same_settings([made], moved("new", {"path": "x"}), keys)
    with pytest.raises(ValueError, match=r"settings: method dense\.patch\.patches\.0\.r was 1, now 2; set another"):
        check_same_settings([made], moved("new", ratio=2), keys)


def test_a_renamed_class_of_the_same_pipeline_does_not_stop_a_resume():
    before, now = ({"name": "p", "_target_": name} for name in ("old.Pipeline", "new.DiffusersPipeline"))
    check_same_settings([record(pipeline=before)], config(pipeline=now))
    with pytest.raises(ValueError, match=r"pipeline\.name was 'p', now 'q'"):
        check_same_settings([record(pipeline=before)], config(pipeline={**now, "name": "q"}))


def probe_config(**changes):
    base = {"front_end": {"_target_": "mel"}, "data": {"count": 2, "references": {"_target_": "render", "folder": "a"}}}
    return {**config(), **base, "noise_seeds": [0], "key_seeds": [1], **changes}


def test_a_probe_resumes_with_more_draws_and_in_another_folder():
    other = {"count": 2, "references": {"_target_": "render", "folder": "b"}}
    now = probe_config(noise_seeds=[1, 2], key_seeds=[], data=other, exact_batches=False, decode_in_chunks=None)
    check_same_settings(
        [RunRecord("r", "now", probe_config(shard={"index": 1}), ENVIRONMENT, PIPELINE, [])], now, PROBE_KEYS
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "bfloat16"}, "dtype was 'float32', now 'bfloat16'"),
        ({"front_end": {"_target_": "other"}}, "front_end._target_ was 'mel', now 'other'"),
        ({"data": {"references": "clips"}}, "data.references was None, now 'clips'"),
        ({"methods": {"b": {**DENSE, "patch": {"_target_": "y"}}}}, "method dense.patch._target_ was 'x', now 'y'"),
    ],
)
def test_a_probe_with_other_settings_is_refused(change, message):
    with pytest.raises(ValueError, match="made with other settings") as error:
        check_same_settings(
            [RunRecord("r", "now", probe_config(), ENVIRONMENT, PIPELINE, [])], probe_config(**change), PROBE_KEYS
        )
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "float16"}, "dtype was 'float32', now 'float16'"),
        ({"pipeline": {"name": "p", "path": "x", "steps": 2}}, "pipeline.path was None, now 'x'"),
        (
            {"methods": {"a": {**LITE, "patch": {"config": {"sparse_ratio": 0.2}}}}},
            "method litefocus.patch.config.sparse_ratio was 0.1, now 0.2",
        ),
        (
            {"methods": {"a": {**LITE, "patch": {"config": {"sparse_ratio": 0.1, "seed": 1}}}}},
            "method litefocus.patch.config.seed was None, now 1",
        ),
    ],
)
def test_a_change_that_shapes_clips_is_refused_and_shown(change, message):
    with pytest.raises(ValueError, match="this run folder was made with other settings") as error:
        check_same_settings([record()], config(**change))
    assert message in str(error.value)


def test_every_earlier_start_counts():
    with pytest.raises(ValueError, match="dtype"):
        check_same_settings([record(dtype="float16"), record()], config())


def test_the_single_method_counts_where_there_is_no_sweep():
    assert shared_settings(config(methods={}))["method dense"]["patch._target_"] == "x"


def test_a_second_process_is_told_who_holds_the_folder(tmp_path):
    code = (
        "from pathlib import Path\nfrom experiments.records.folder import locked\n"
        f"with locked(Path({str(tmp_path)!r})): pass"
    )
    with locked(tmp_path):
        second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"is in use by process {os.getpid()} on {platform.node()} since " in second.stderr
    with locked(tmp_path):
        pass


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        ("7 node3 2026-01-01T00:00:00+00:00\n", r"process 7 on node3 since 2026-01-01T00:00:00\+00:00 \(.* ago\)"),
        ("", "another process"),
        ("process 7", "another process"),
        ("7 node3 2026-01-01T00:00:00", "another process"),
    ],
)
def test_the_owner_of_a_lock_in_words(text, owner):
    assert re.fullmatch(owner, _owner(text))


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file/run cannot be written \(Not a directory\); set out_dir"):
        check_writable(tmp_path / "file" / "run")


def test_ids_that_differ_in_case_only_are_refused_over_several_starts():
    earlier = RunRecord("r", "now", config(), ENVIRONMENT, PIPELINE, ["Rain", "dog"])
    check_same_spelling([earlier], ["dog", "Rain", "wind"])
    with pytest.raises(ValueError, match="'rain' and 'Rain' of an earlier start differ in case only"):
        check_same_spelling([earlier], ["rain"])


def test_other_weights_are_refused():
    made = RunRecord("r", "now", config(), ENVIRONMENT, {**PIPELINE, "weights": "sha256:1"}, [])
    check_same_weights([made], "sha256:1")
    with pytest.raises(ValueError, match="made with weights sha256:1, now sha256:2"):
        check_same_weights([made], "sha256:2")
