"""What a record never holds: folders of the machine, user names, tokens, environment variables."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from experiments.stages.setup import resolved
from experiments.system.private import public_overrides, publishable, without_private

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
        "again": "${oc.env:HF_TOKEN}",
        "hidden": "${oc.env:HF_TOKEN}",
        "data": [{"file": "${oc.env:LAB}/p.csv"}, 2],
        "steps": 2,
        "tracking": {"name": "wandb"},
    }


@pytest.mark.parametrize(
    "written",
    [
        "runs/${name}", "runs/${oc.select:name}", "runs/${oc.select:name,other}", "${ oc.env:LAB}",
        "runs/${oc.env:LAB,x}", "runs/${oc.select:inner.${oc.env:LAB},none}",
    ],
)  # fmt: skip
def test_no_way_from_the_environment_to_a_record_shows_the_value(monkeypatch, written):
    monkeypatch.setenv("LAB", "lab-of-someone")
    config = OmegaConf.create(
        {"name": "${oc.env:LAB}", "out_dir": written, "inner": {"lab-of-someone": "${name}"}, "all": "${steps}",
         "steps": 2, "listed": "${oc.dict.values:inner}", "number": "${oc.decode:${oc.env:COUNT}}"}
    )  # fmt: skip
    monkeypatch.setenv("COUNT", "12345678")
    record = resolved(config)
    del record["inner"]  # its key is text that the user wrote
    assert "lab-of-someone" not in str(record)
    assert "12345678" not in str(record)
    assert (record["steps"], record["all"]) == (2, 2)
    assert config.name == "lab-of-someone"  # the resolver is as it was


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("/home/me/clips/${oc.env:LAB}/caps.txt", "${oc.env:LAB}/caps.txt"),
        ("~/clips/of-${oc.env:LAB}", "of-${oc.env:LAB}"),
        ("C:\\Users\\me\\${oc.env:LAB}", "${oc.env:LAB}"),
        ("${oc.env:NOT_SET,/home/me}/x", "${oc.env:NOT_SET,***}/x"),
        ("/home/me/${name}", "${oc.env:LAB}"),
        ("runs/${oc.env:LAB,x}", "runs/${oc.env:LAB,x}"),
    ],
)
def test_folders_before_a_reference_to_the_environment_stay_on_the_machine(monkeypatch, written, kept):
    monkeypatch.setenv("LAB", "our-lab")
    assert resolved(OmegaConf.create({"name": "${oc.env:LAB}", "file": written}))["file"] == kept


@pytest.mark.parametrize("name", ["GITHUB_PAT", "DATABASE_URL", "PGPASSWORD", "SENTRY_DSN", "AWS_SECRET_ACCESS_KEY"])
def test_the_value_of_a_secret_variable_is_masked_where_it_was_typed(monkeypatch, name):
    monkeypatch.setenv(name, "postgres://me:12345@host")
    assert resolved(OmegaConf.create({"a": ["x postgres://me:12345@host"], "b": 3})) == {"a": ["x ***"], "b": 3}
    monkeypatch.setenv(name, "987654321")
    assert resolved(OmegaConf.create({"a": 987654321, "b": 3})) == {"a": "***", "b": 3}


def test_the_home_folder_is_the_one_of_this_process():
    assert without_private(str(Path.home())) == "~"


def test_a_command_line_keeps_values_that_are_public_and_plain_choices():
    config = {"steps": 4, "out_dir": "/home/me/runs/x", "pipeline": {"path": f"/models/{TOKEN}/y"}, "tracking": None}
    config["tracking"] = {"name": "wandb", "key": "abcdefgh"}
    kept = public_overrides(
        ["steps=4", "out_dir=/home/me/runs/x", f"pipeline.path=/models/{TOKEN}/y", "pipeline=testbed", "+sweep=peers",
         "+method@methods.dense=dense", "~data.limit", "tracking.key=abcdefgh", "+more=/home/me/secret"],
        publishable(config, config),
    )  # fmt: skip
    assert kept == [
        "steps=4", 'out_dir="x"', 'pipeline.path="y"', "pipeline=testbed", "+sweep=peers",
        "+method@methods.dense=dense", "~data.limit", "tracking.key=***", "+more=***",
    ]  # fmt: skip
