"""Nothing from outside is run: no pickled code, no remote code, no unpinned download. Read off the source."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from evaluation.embedders import weights
from experiments.datasets.prompts import AUDIOCAPS_SHA256
from experiments.system.download import fetch

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for name in ("litefocus", "evaluation", "experiments") for path in (ROOT / name).rglob("*.py"))
# Modules that execute what they read, or hand text to a shell.
UNSAFE_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle"}
UNSAFE_NAMES = {"eval", "exec", "compile", "__import__"}
# The modules that may reach the network; each checks what it gets.
NETWORK = {"experiments/system/download.py", "evaluation/embedders/weights.py"}
SHA256 = re.compile(r"[0-9a-f]{64}")
COMMIT = re.compile(r"[0-9a-f]{40}")


def calls():
    """(file:line, dotted name, keyword arguments) of every call in the three packages."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords if keyword.arg}
                yield f"{path.relative_to(ROOT)}:{node.lineno}", ast.unparse(node.func), keywords


CALLS = list(calls())


def named(*endings):
    return [call for call in CALLS if call[1].split(".")[-1] in endings]


def test_remote_code_is_never_trusted():
    assert [call for call in CALLS if call[2].get("trust_remote_code", "False") != "False"] == []


def test_torch_loads_weights_only():
    found = [call for call in CALLS if call[1] == "torch.load"]
    assert len(found) >= 2
    assert [call for call in found if call[2].get("weights_only") != "True"] == []


def test_numpy_loads_no_pickles():
    assert [call for call in CALLS if call[2].get("allow_pickle", "False") != "False"] == []


def test_models_come_from_local_files_or_a_pinned_commit():
    found = named("from_pretrained", "snapshot_download", "hf_hub_download")
    assert len(found) >= 5
    loose = [call for call in found if call[2].get("local_files_only") != "True" and "revision" not in call[2]]
    assert loose == []


def test_yaml_is_read_by_omegaconf_only_whose_loader_is_a_safe_one():
    from omegaconf._utils import get_yaml_loader

    assert issubclass(get_yaml_loader(), yaml.SafeLoader)
    with pytest.raises(yaml.constructor.ConstructorError):
        yaml.load("!!python/object/apply:os.system ['true']", Loader=get_yaml_loader())
    assert [call for call in CALLS if call[1].startswith("yaml.")] == []


def test_nothing_executes_text_or_unpickles():
    assert [call for call in CALLS if call[1] in UNSAFE_NAMES or call[1] in ("os.system", "os.popen")] == []
    assert [call for call in CALLS if "shell" in call[2]] == []
    imported = {
        (str(path.relative_to(ROOT)), alias.name.split(".")[0])
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in (node.names if isinstance(node, ast.Import) else [ast.alias(node.module or "")])
    }
    assert {pair for pair in imported if pair[1] in UNSAFE_MODULES} == set()


def test_only_the_checked_downloaders_reach_the_network():
    assert {where.split(":")[0] for where, *_ in named("urlopen", "urlretrieve")} == NETWORK
    assert [call for call in CALLS if call[1].split(".")[0] in ("requests", "httpx")] == []


def test_every_published_file_is_pinned_or_not_fetched():
    """A source without a hash is refused before the network (test_weights.py); the others have one."""
    sources = [value for value in vars(weights).values() if isinstance(value, weights.WeightSource)]
    assert len(sources) >= 5
    assert [s.filename for s in sources if s.sha256 is not None and not SHA256.fullmatch(s.sha256)] == []
    assert SHA256.fullmatch(AUDIOCAPS_SHA256)
    assert fetch.__defaults__ is None  # No default lets a caller leave the hash out.


def test_every_hub_model_is_pinned_to_a_commit_or_says_that_it_has_none():
    nodes = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "conf" / "pipeline").glob("*.yaml")}
    hub = {name: node for name, node in nodes.items() if "hub_id" in node}
    assert set(hub) >= {"audioldm2", "audioldm2_large", "audioldm2_music", "audioldm", "musicldm"}
    # Its own line in every file: a revision that is inherited would be another repository's.
    assert all("revision" in node for node in hub.values())
    assert [
        n for n, node in hub.items() if node["revision"] is not None and not COMMIT.fullmatch(node["revision"])
    ] == []
    assert hub["audioldm2"]["revision"] is not None
