"""Where a number was measured: the commit is that of this checkout."""

import subprocess
from pathlib import Path

import pytest

from experiments.system import environment
from experiments.system.environment import cpu_features, package_versions, source_revision

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_the_commit_is_that_of_this_checkout():
    head = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert source_revision()["commit"] == head.stdout.strip()


def test_a_new_file_makes_the_tree_changed_and_an_ignored_one_or_a_studys_own_does_not(tmp_path, monkeypatch):
    checkout = tmp_path / "checkout"
    (checkout / "experiments/system").mkdir(parents=True)
    (checkout / ".gitignore").write_text("runs/\n")
    git = ["git", "-C", str(checkout), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *arguments], check=True)
    monkeypatch.setattr(environment, "__file__", str(checkout / "experiments/system/environment.py"))
    (checkout / "runs").mkdir()
    (checkout / "runs/audio.wav").write_bytes(b"x")
    (checkout / "results/study").mkdir(parents=True)
    (checkout / "results/study/records.jsonl").write_text("{}\n")
    assert source_revision()["dirty"] is False
    (checkout / "my_method.py").write_text("x = 1\n")
    assert source_revision()["dirty"] is True


def test_the_build_of_torch_is_named_where_its_metadata_leaves_it_out(monkeypatch):
    monkeypatch.setattr("torch.__version__", "9.9.9+cu130")
    assert package_versions()["torch"] == "9.9.9+cu130"


def test_processors_of_one_name_are_told_apart_by_their_features():
    text = "processor : 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu sse2 {}\n\nprocessor : 1\nflags : amx_tile\n"
    assert cpu_features(text.format("avx avx2")) == ["avx2"]
    assert cpu_features(text.format("amx_bf16 avx512f avx2 amx_tile")) == ["avx2", "avx512f", "amx_tile", "amx_bf16"]
    assert cpu_features("") == []
    assert cpu_features("Features : asimd\n") == []
