"""The commit of hub weights: asked for once, kept in the records, the same at every resume. No network here."""

import logging

import huggingface_hub
import pytest
from diffusers import AudioLDMPipeline
from hydra import compose, initialize_config_dir
from published_layout import CAPTIONS, write_published
from start_material import ENVIRONMENT, PIPELINE

from experiments.pipelines import revisions
from experiments.pipelines.revisions import current_commit, with_commit
from experiments.records import RunRecord, append_record, of_kind, read_records
from experiments.run import run
from experiments.system.cli import CONF_DIR

FIRST, LATER = "a" * 40, "b" * 40


def configured(run_dir, *overrides):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        return compose("config", overrides=["pipeline=audioldm", f"out_dir={run_dir}", *overrides])


@pytest.fixture
def hub(monkeypatch):
    """A hub whose branch moves with every question; the list holds the questions."""
    asked = []

    def answer(hub_id):
        asked.append(hub_id)
        return [FIRST, LATER][min(len(asked), 2) - 1]

    monkeypatch.setattr(revisions, "current_commit", answer)
    return asked


def start(run_dir, weights):
    run_dir.mkdir(exist_ok=True)
    append_record(
        run_dir, RunRecord("r", "2026-01-01T00:00:00+00:00", {}, ENVIRONMENT, {**PIPELINE, "weights": weights}, [])
    )


def test_the_current_commit_is_asked_for_where_none_is_given(tmp_path, hub, caplog):
    with caplog.at_level(logging.INFO):
        config = with_commit(configured(tmp_path / "run"))
    assert config.pipeline.revision == FIRST
    assert hub == ["cvssp/audioldm-s-full-v2"]
    assert FIRST in caplog.text
    assert with_commit(config) is config


@pytest.mark.parametrize("option", ["pipeline.path=weights", f"pipeline.revision={LATER}", "pipeline.revision=main"])
def test_a_path_or_a_given_revision_asks_nothing(tmp_path, hub, option):
    config = configured(tmp_path / "run", option)
    assert with_commit(config) is config
    assert hub == []


def test_the_commit_of_an_earlier_start_is_kept_though_the_branch_has_moved(tmp_path, hub):
    start(tmp_path / "run", f"cvssp/audioldm-s-full-v2@{LATER}")
    assert with_commit(configured(tmp_path / "run")).pipeline.revision == LATER
    assert hub == []


@pytest.mark.parametrize("weights", [f"cvssp/other@{LATER}", "sha256:" + "c" * 64, "cvssp/audioldm-s-full-v2@main"])
def test_a_start_with_other_weights_says_nothing_about_the_commit(tmp_path, hub, weights):
    start(tmp_path / "run", weights)
    assert with_commit(configured(tmp_path / "run")).pipeline.revision == FIRST


def test_a_run_records_the_commit_and_resumes_at_it(tmp_path, hub, monkeypatch):
    folder = write_published(tmp_path / "weights", "AudioLDMPipeline")
    fetched = []
    load = AudioLDMPipeline.from_pretrained

    def from_pretrained(source, revision, **options):
        fetched.append((source, revision))
        return load(folder, use_safetensors=True, dtype=options["dtype"])

    monkeypatch.setattr(AudioLDMPipeline, "from_pretrained", from_pretrained)
    (tmp_path / "prompts.txt").write_text(f"{CAPTIONS[0]}\n")
    options = ["data=captions", f"data.file={tmp_path / 'prompts.txt'}", "durations=[1]", "steps=1"]
    for stages in ("[generate]", "[generate]"):
        run(configured(tmp_path / "run", *options, f"stages={stages}"))
    assert fetched == [("cvssp/audioldm-s-full-v2", FIRST)] * 2
    assert hub == ["cvssp/audioldm-s-full-v2"]
    starts = of_kind(read_records(tmp_path / "run"), RunRecord)
    assert [r.pipeline["weights"] for r in starts] == [f"cvssp/audioldm-s-full-v2@{FIRST}"] * 2
    assert [r.config["pipeline"]["revision"] for r in starts] == [FIRST] * 2
    with pytest.raises(ValueError, match=f"pipeline.revision was '{FIRST}', now '{LATER}'"):
        run(configured(tmp_path / "run", *options, "stages=[generate]", f"pipeline.revision={LATER}"))


OFFLINE = (huggingface_hub.errors.OfflineModeIsEnabled("off"), huggingface_hub.errors.HTTPError("no\nroute"), OSError())


@pytest.mark.parametrize("error", OFFLINE)
def test_without_the_hub_one_line_says_what_to_put_where(monkeypatch, error):
    def model_info(self, hub_id):
        raise error

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    with pytest.raises(ConnectionError, match=r"current commit of a/b .*set pipeline\.path=FOLDER here") as caught:
        current_commit("a/b")
    assert "\n" not in str(caught.value)
    assert "pipeline.revision" in str(caught.value)
