"""What `experiments.run` finds before it generates: mistakes of the score stage, folders that cannot be written."""

import errno
import fcntl
import os
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf
from start_material import ENVIRONMENT, PIPELINE

from evaluation.embedders.weights import CNN14_16K, WeightsError, check_weights
from evaluation.embedding.cache import EmbeddingCache
from evaluation.run import build
from evaluation.run.build import WEIGHT_OPTIONS
from experiments import report as report_module
from experiments import run as run_module
from experiments.checks.scoring import check_cache, check_scoring
from experiments.datasets.prompts import Prompt
from experiments.records import RunRecord, append_record
from experiments.records.folder import locked
from experiments.run import run
from experiments.system.cli import CONF_DIR

PROMPTS = [Prompt("a", "rain"), Prompt("b", "a bell")]


def configured(tmp_path, *overrides):
    options = [f"out_dir={tmp_path / 'run'}", f"metrics.cache_dir={tmp_path / 'cache'}", "durations=[5.12]", *overrides]
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        return compose("config", overrides=options)


def fails_before_the_pipeline(config, monkeypatch, error, message):
    monkeypatch.setattr(run_module, "load_pipeline", lambda *_: pytest.fail("the pipeline was loaded"))
    with pytest.raises(error, match=message) as caught:
        run(config)
    assert "\n" not in str(caught.value)


def test_the_testbeds_own_judges_pass_and_leave_nothing_in_the_cache(tmp_path):
    check_scoring(configured(tmp_path), PROMPTS)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("duration", [0.64, 0.96])
def test_clips_shorter_than_a_judge_takes(tmp_path, monkeypatch, duration):
    config = configured(tmp_path, f"durations=[5.12,{duration}]")
    message = rf"clips of {duration} s do not suit the metrics \(.*takes at least 0\.992 s"
    fails_before_the_pipeline(config, monkeypatch, ValueError, message)


def test_a_window_that_a_network_cannot_take(tmp_path, monkeypatch):
    config = configured(tmp_path, "metrics.window_s=0.5")
    fails_before_the_pipeline(config, monkeypatch, ValueError, r"window_s=0\.5; testbed-classifier takes at least")


def test_a_cache_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    config = configured(tmp_path, f"metrics.cache_dir={tmp_path / 'file' / 'cache'}")
    message = r"metrics\.cache_dir .*file/cache cannot be written \(Not a directory\); set metrics\.cache_dir"
    fails_before_the_pipeline(config, monkeypatch, OSError, message)


def test_a_home_that_is_not_there(monkeypatch):
    def no_home(self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    with pytest.raises(OSError, match=r"metrics\.cache_dir ~/cache cannot be written \(Could not determine home"):
        check_cache("~/cache")


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("nowhere/clap", FileNotFoundError, r"metrics\.weights\.clap: nowhere/clap does not exist"),
        ("''", ValueError, r"metrics\.weights\.clap: got ''; give a path"),
        ("5", ValueError, r"metrics\.weights\.clap: got 5; give a path"),
        ("sha256:12", ValueError, "64 hex digits|is a folder"),
    ],
)
def test_a_weight_path_that_is_none(tmp_path, monkeypatch, value, error, message):
    config = configured(tmp_path, "metrics=strict", f"metrics.weights.clap={value}", "data=demo")
    fails_before_the_pipeline(config, monkeypatch, error, message)


def test_a_network_without_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "references").mkdir()
    for prompt in run_module.load_prompts(configured(tmp_path, "data=demo")):
        (tmp_path / "references" / f"{prompt.id}.wav").touch()
    config = configured(tmp_path, "metrics=strict", "data=demo", f"data.references={tmp_path / 'references'}")
    message = r"vggish-.* is not at .*set metrics\.weights\.vggish.*; clap-htsat-unfused.*set metrics\.weights\.clap"
    fails_before_the_pipeline(config, monkeypatch, WeightsError, message)


def test_weights_that_cannot_be_fetched(tmp_path, monkeypatch):
    """They are fetched before the clips are made: without the network a run ends at once, not after days."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", mock.Mock(side_effect=OSError("no route to host")))
    config = configured(tmp_path, "metrics=strict", "data=demo", "metrics.metrics=[is]")
    message = r"Cnn14_16k_mAP=0.438.pth cannot be fetched from .*no route to host.*, or set metrics\.weights\.cnn14_16k"
    fails_before_the_pipeline(config, monkeypatch, WeightsError, message)


def test_a_best_of_three_needs_three_clips_of_each_prompt(tmp_path, monkeypatch):
    config = configured(tmp_path, "metrics=audioldm2", "metrics.metrics=[level]", "data=demo", "seeds=[0,1]")
    message = (
        r"metrics.preset audioldm2 takes the best of 3 clips of a prompt, got seeds=\[0, 1\]; set seeds=\[0, 1, 2\]"
    )
    monkeypatch.setattr(build, "_installed", lambda distributions: True)
    fails_before_the_pipeline(config, monkeypatch, ValueError, message)


def test_a_network_of_another_environment_that_is_not_made(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "PUBLISHED_ENVIRONMENT", tmp_path / ".venv-published")
    (tmp_path / "references").mkdir()
    for prompt in run_module.load_prompts(configured(tmp_path, "data=demo")):
        (tmp_path / "references" / f"{prompt.id}.wav").touch()
    options = ("metrics=audioldm2", "data=demo", f"data.references={tmp_path / 'references'}", "seeds=[0,1,2]")
    message = "PackagePasstEmbedder runs in the environment .*make it: make install-published"
    fails_before_the_pipeline(configured(tmp_path, *options), monkeypatch, FileNotFoundError, message)


def test_a_weight_name_that_is_none(tmp_path):
    with pytest.raises(ConfigCompositionException, match=r"metrics\.weights\.clpa"):
        configured(tmp_path, "metrics.weights.clpa=x")
    weights = OmegaConf.load(CONF_DIR / "metrics" / "strict.yaml").weights
    assert set(weights) <= set(WEIGHT_OPTIONS)
    assert set(weights.values()) == {None}


def test_missing_references(tmp_path, monkeypatch):
    (tmp_path / "references").mkdir()
    options = ("metrics.metrics=[level]", "data=demo", f"data.references={tmp_path / 'references'}")
    fails_before_the_pipeline(configured(tmp_path, *options), monkeypatch, FileNotFoundError, "references missing")


def test_weights_that_would_be_fetched_are_named_and_not_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("fetched"))
    source = replace(CNN14_16K, folder=tmp_path)
    assert source.url in check_weights(source)
    assert str(source.sha256) in check_weights(source)
    source.path.write_bytes(b"other")
    with pytest.raises(WeightsError, match="has sha256 .*, expected e2ee543a"):
        check_weights(source)


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with (
        pytest.raises(OSError, match=r"run/\.lock cannot be locked \(No locks available\).*set out_dir"),
        locked(tmp_path / "run"),
    ):
        pass


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_under_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(np, "savez", full)
    cache = EmbeddingCache(tmp_path)
    with pytest.raises(OSError, match=rf"{tmp_path}/ab/abc.npz: No space left on device .*set cache_dir"):
        cache.put("abc", {"embedding": np.zeros(3)})
    assert not list(tmp_path.rglob("*.*"))


def test_a_full_disk_under_the_records_and_the_report(tmp_path, monkeypatch):
    record = RunRecord("r", "2026-01-01T00:00:00+00:00", {"name": "n"}, ENVIRONMENT, {**PIPELINE, "weights": "w"}, [])
    append_record(tmp_path, record)
    monkeypatch.setattr(report_module, "all_tables", full)
    with pytest.raises(OSError, match=rf"{tmp_path}: No space left on device while writing the report"):
        report_module.report(tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"records\.jsonl: No space left on device while writing a record"):
        append_record(tmp_path, record)
