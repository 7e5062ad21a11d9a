"""What a record never holds: folders of the machine, user names, tokens, environment variables."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from experiments.stages.setup import resolved
from experiments.system.private import publishable, without_private

TOKEN = "hf_0123456789abcdef"


@pytest.fixture(autouse=True)
def stranger(monkeypatch):
    monkeypatch.setenv("HOME", "/home/jdoe")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("WANDB_API_KEY", "w" * 40)
    monkeypatch.setenv("GIT_AUTHOR_NAME", "litefocus")
    monkeypatch.setenv("SHORT_KEY", "dense")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("/home/me/runs/x", "x"),
        ("~/cache", "cache"),
        ("/home/jdoe", "~"),
        ("~", "~"),
        ("file:///home/jdoe/x.csv", "x.csv"),
        ("C:\\Users\\jdoe\\x.csv", "x.csv"),
        ("../../home/jdoe/clips", "../../home/***/clips"),
        ("runs/jdoes/x", "runs/jdoes/x"),
        (f"https://user:{TOKEN}@host/x", "https://user:***@host/x"),
        ("relative/y", "relative/y"),
        ("litefocus", "litefocus"),
        ("dense", "dense"),
        ("", ""),
    ],
)
def test_private_parts_of_a_text(text, kept):
    assert without_private(text) == kept


def test_a_configuration_at_any_depth():
    config = {"out_dir": "/home/me/runs/x", "a": {"b": ["~/cache", "relative/y", 3, None, {"t": TOKEN}]}}
    assert publishable(config, config) == {"out_dir": "x", "a": {"b": ["cache", "relative/y", 3, None, {"t": "***"}]}}


def test_what_comes_from_the_environment_stays_a_reference_and_the_tracker_keeps_its_name_only(monkeypatch):
    monkeypatch.setenv("LAB", "our-lab")
    config = OmegaConf.create(
        {
            "name": "${oc.env:LAB}",
            "again": "${hidden}",
            "hidden": "${oc.env:HF_TOKEN}",
            "data": [{"file": "${oc.env:LAB}/p.csv"}, "${steps}"],
            "steps": 2,
            "tracking": {"name": "wandb", "entity": "jdoe"},
        }
    )
    assert resolved(config) == {
        "name": "${oc.env:LAB}",
        "again": "***",
        "hidden": "${oc.env:HF_TOKEN}",
        "data": [{"file": "${oc.env:LAB}/p.csv"}, 2],
        "steps": 2,
        "tracking": {"name": "wandb"},
    }


def test_the_home_folder_is_the_one_of_this_process():
    assert without_private(str(Path.home())) == "~"
