"""`experiments.check`: a line for whatever can go wrong, none hidden by another, exit code 0 or 2. No network."""

import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from published_layout import CAPTIONS, write_published

from experiments import check as check_module
from experiments.check import environment, look_at_weights
from experiments.checks import clips as clips_module
from experiments.checks import cost
from experiments.checks import weights as weights_module
from experiments.checks.clips import clip_lines, memory_line, relative_error
from experiments.checks.lines import FAIL, NOTE, OK, Line, failures, guarded, render
from experiments.checks.networks import metric_lines
from experiments.checks.weights import file_lines, licence_line, licence_of
from experiments.datasets.prompts import Prompt
from experiments.pipelines import revisions
from experiments.pipelines.pipeline_folder import hash_weights
from experiments.pipelines.untrained import build_untrained
from experiments.system.cli import CONF_DIR

PROMPT = Prompt("a", CAPTIONS[0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_published(tmp_path_factory.mktemp("published"), "AudioLDMPipeline")


@pytest.fixture(scope="module")
def tiny():
    options = {"name": "tiny", "seed": 0, "size": "tiny", "trained": False, "training_length_s": 10.24}
    return build_untrained(torch.device("cpu"), torch.float32, **options)


def overrides(tmp_path, *more):
    (tmp_path / "prompts.txt").write_text(f"{CAPTIONS[0]}\n")
    return ["pipeline=audioldm", "data=captions", f"data.file={tmp_path / 'prompts.txt'}", "durations=[1]", "steps=2",
            f"out_dir={tmp_path / 'run'}", f"metrics.cache_dir={tmp_path / 'cache'}", *more]  # fmt: skip


def configured(tmp_path, *more):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        return compose("config", overrides=overrides(tmp_path, *more))


def marks(lines):
    return {line.subject: line.mark for line in lines}


def text_of(lines, subject):
    (line,) = [line for line in lines if line.subject == subject]
    return line.text


def run_main(monkeypatch, capsys, words):
    monkeypatch.setattr(sys, "argv", ["check", *words])
    try:
        check_module.main()
    except SystemExit as stop:
        return stop.code, capsys.readouterr().out
    return 0, capsys.readouterr().out


def test_a_good_folder_passes_and_the_run_folder_is_left_alone(tmp_path, folder, monkeypatch, capsys):
    code, out = run_main(monkeypatch, capsys, overrides(tmp_path, f"pipeline.path={folder}"))
    assert code == 0, out
    lines = {line[6:].split("  ")[0]: line for line in out.splitlines()}
    assert hash_weights(folder / "unet")[:12] in lines["unet"]
    assert "transformers.ClapTextModelWithProjection" in lines["text_encoder"]
    assert "float32" in lines["loaded unet"]
    assert lines["dense restored"].startswith("ok    dense restored")
    assert "0 of" in out.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_a_missing_component_is_one_line_and_the_others_are_still_looked_at(tmp_path, folder, monkeypatch, capsys):
    broken = shutil.copytree(folder, tmp_path / "weights")
    shutil.rmtree(broken / "vocoder")
    (broken / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    words = overrides(tmp_path, f"pipeline.path={broken}", "device=cpu")
    code, out = run_main(monkeypatch, capsys, words)
    assert code == 2
    found = {line[6:].split("  ")[0]: line for line in out.splitlines()}
    assert found["vocoder"].startswith("FAIL")
    assert "weights/vocoder is missing; save the folder" in found["vocoder"]
    assert found["unet"].startswith("FAIL")
    assert "holds .bin weights only" in found["unet"]
    assert found["vae"].startswith("ok")
    assert found["loading"].startswith("--    loading")
    assert out.splitlines()[-1].startswith("2 of")
    assert found["clips, memory, hours"].startswith("--")


def test_no_folder_names_the_repository_and_what_to_save(tmp_path):
    lines, pipeline = look_at_weights(configured(tmp_path, f"pipeline.path={tmp_path / 'nowhere'}"))
    assert pipeline is None
    assert (lines[0].mark, lines[0].subject) == (FAIL, "weights")
    assert "cvssp/audioldm-s-full-v2 there" in lines[0].text


def test_hub_weights_that_are_not_here_are_listed_and_not_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(revisions, "current_commit", lambda hub_id: "a" * 40)
    files = {"unet/diffusion_pytorch_model.safetensors": 1_300_000_000, "vae/config.json": 500}
    monkeypatch.setattr(weights_module, "files_to_fetch", lambda hub_id, commit: files)
    monkeypatch.setattr(check_module, "load_pipeline", lambda *_: pytest.fail("loaded"))
    lines, pipeline = look_at_weights(configured(tmp_path))
    assert pipeline is None
    assert lines[0] == Line(
        NOTE,
        "weights",
        f"cvssp/audioldm-s-full-v2@{'a' * 40}: 2 files, 1.3 GB to be fetched, "
        "first unet/diffusion_pytorch_model.safetensors",
    )


def test_a_hub_that_does_not_answer_says_what_to_put_where(tmp_path, monkeypatch):
    def model_info(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", model_info)
    lines, pipeline = look_at_weights(configured(tmp_path, f"pipeline.revision={'b' * 40}"))
    assert pipeline is None
    assert lines[0].mark == FAIL
    assert "set pipeline.path=FOLDER here" in lines[0].text


def test_the_licence_is_the_folders_own_or_the_configurations_or_not_known(tmp_path):
    card = tmp_path / "README.md"
    card.write_text("---\ntags: [audio]\nlicense: cc-by-nc-sa-4.0\n---\nlicense: other\n")
    assert licence_of(card) == "cc-by-nc-sa-4.0"
    assert licence_line(configured(tmp_path, f"pipeline.path={tmp_path}")).text.startswith("cc-by-nc-sa-4.0 (README")
    card.write_text("license: other\n")
    assert licence_of(card) is None
    assert licence_line(configured(tmp_path, f"pipeline.path={tmp_path}")).mark == NOTE
    assert licence_line(configured(tmp_path, "pipeline=audioldm2")).text == "cc-by-nc-sa-4.0 (conf/pipeline)"


def test_an_index_that_is_none(tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps([]))
    (line,) = guarded("components", lambda: file_lines(tmp_path))
    assert line.mark == FAIL
    assert "got a list, accepted is an object" in line.text


def test_a_device_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (line,) = guarded("environment", lambda: environment(configured(tmp_path, "device=cuda")))
    assert line == Line(FAIL, "environment", "device 'cuda': torch sees no CUDA device here; use device=cpu")


def test_no_cuda_is_one_line_and_exit_2(tmp_path, folder, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, out = run_main(monkeypatch, capsys, overrides(tmp_path, f"pipeline.path={folder}", "device=cuda"))
    assert code == 2
    assert [line.split()[1] for line in out.splitlines() if line.startswith("FAIL")] == ["environment"]


def test_too_little_memory_is_one_line_and_exit_2(tmp_path, folder, monkeypatch, capsys):
    """A million seconds: what the two-step clip of one second takes, here a mebibyte, a million times."""
    monkeypatch.setattr(clips_module, "working_memory_gib", lambda call, device: 2.0**-10)
    monkeypatch.setattr(cost.shutil, "disk_usage", lambda folder: SimpleNamespace(free=2**50))
    longer = ("durations=[1,1000000]", "pipeline.max_duration_s=1000000", "device=cpu")
    code, out = run_main(monkeypatch, capsys, overrides(tmp_path, f"pipeline.path={folder}", *longer))
    assert code == 2
    failing = [line for line in out.splitlines() if line.startswith("FAIL")]
    assert [line.split()[1] for line in failing] == ["memory"]
    assert "set shorter durations, dtype=float16, or another device" in failing[0]


def test_a_home_that_cannot_be_written_is_one_line_and_exit_2(tmp_path, folder, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path / "prompts.txt"))
    words = [word for word in overrides(tmp_path, f"pipeline.path={folder}") if not word.startswith("metrics.")]
    code, out = run_main(monkeypatch, capsys, [*words, "metrics=strict", "metrics.metrics=[level]", "device=cpu"])
    assert code == 2
    assert [line.split()[1] for line in out.splitlines() if line.startswith("FAIL")] == ["metrics.cache_dir"]


def test_a_patch_that_changes_the_clip_or_is_not_taken_off_fails(tiny, monkeypatch):
    assert set(marks(clip_lines(tiny, PROMPT, 1.0, 3.5)).values()) == {OK}
    monkeypatch.setattr(clips_module, "EVERY_KEY_ONCE", clips_module.LiteFocusConfig(sparse_ratio=0.1))
    found = marks(clip_lines(tiny, PROMPT, 1.0, 3.5))
    assert found == {"dense clip": OK, "LiteFocus, every key": FAIL, "dense restored": OK}


def test_the_error_is_that_of_the_waveforms_by_hand():
    assert relative_error(np.array([1.0, 2.0]), np.array([1.0, 1.0])) == pytest.approx(np.sqrt(0.5))
    assert relative_error(np.array([1.0]), np.array([0.0])) == float("inf")


def test_too_little_memory_is_told_from_a_measured_clip_in_proportion(tiny, monkeypatch):
    monkeypatch.setattr(clips_module, "working_memory_gib", lambda call, device: 3.0)
    monkeypatch.setattr(clips_module, "available_gib", lambda device: 20.0)
    assert memory_line(tiny, PROMPT, 10.0, 60.0, 3.5).mark == OK
    line = memory_line(tiny, PROMPT, 10.0, 80.0, 3.5)
    assert line.mark == FAIL
    assert line.text.startswith("80 s takes 24 GiB beside the weights (measured 3 GiB at 10 s, in proportion); 20 GiB")


def test_metric_networks_are_present_or_to_be_fetched_or_wrong(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    cached = tmp_path / ".cache" / "litefocus" / "weights"
    cached.mkdir(parents=True)
    options = ("metrics=strict", "metrics.metrics=[kl,level]", f"data.references={tmp_path / 'references'}")
    (tmp_path / "references").mkdir()
    (tmp_path / "references" / f"{PROMPT.id}.wav").touch()
    config = configured(tmp_path, *options, "durations=[10]")
    lines = list(metric_lines(config, [PROMPT]))
    assert marks(lines)["network cnn14-16k"] == NOTE, lines
    assert "e2ee543a27919542c2ea03eabaa70b24dcd4e6c8e05621de6b67a94e4c5058e6" in text_of(lines, "network cnn14-16k")
    assert marks(lines)["references"] == OK
    (cached / "Cnn14_16k_mAP=0.438.pth").write_bytes(b"wrong")
    lines = list(metric_lines(config, [PROMPT]))
    assert marks(lines)["network cnn14-16k"] == FAIL
    assert "has sha256" in text_of(lines, "network cnn14-16k")
    assert marks(lines)["metric windows"] == NOTE


def test_a_network_without_weights_and_a_home_that_cannot_be_written_are_a_line_each(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "prompts.txt"))
    config = configured(tmp_path, "metrics=strict", "metrics.cache_dir='~/cache'")
    found = {line.subject: line for line in metric_lines(config, [PROMPT])}
    assert found["metrics.cache_dir"].mark == FAIL
    assert found["network clap"].mark == FAIL
    assert "clap-htsat-unfused is not at" in found["network clap"].text


def test_the_testbeds_judges_are_loaded(tmp_path):
    config = configured(tmp_path, "pipeline=testbed", "durations=[5.12]")
    lines = list(metric_lines(config, [PROMPT]))
    assert failures(lines) == 0, lines
    assert "loads (" in text_of(lines, "network testbed-clap")


def test_an_error_keeps_the_lines_before_it():
    def look():
        yield Line(OK, "first", "fine")
        raise RuntimeError("two\nlines")

    lines = guarded("second", look)
    assert lines == [Line(OK, "first", "fine"), Line(FAIL, "second", "two lines")]
    assert render(lines) == "ok    first   fine\nFAIL  second  two lines"


def test_a_mistake_in_the_configuration_is_one_line(tmp_path, monkeypatch, capsys):
    code, out = run_main(monkeypatch, capsys, overrides(tmp_path, "steps=0"))
    assert (code, out) == (2, "")
