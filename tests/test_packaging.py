"""What the wheel and the source distribution hold, built offline by the build backend itself with nothing installed;
and what the files around the code say."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import yaml
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

import litefocus

ROOT = Path(__file__).resolve().parents[1]
SETUP = "import setuptools; setuptools.setup()"


def build(*commands):
    """Run commands of setuptools in the repository's root, their output elsewhere."""
    subprocess.run([sys.executable, "-c", SETUP, "-q", *map(str, commands)], check=True, cwd=ROOT, capture_output=True)


@pytest.fixture(scope="module")
def wheel_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build("egg_info", "--egg-base", folder, "build", "--build-base", folder / "build", "bdist_wheel", "-d", folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def wheel(wheel_file):
    """The wheel's file names and its metadata."""
    with zipfile.ZipFile(wheel_file) as archive:
        names = archive.namelist()
        (metadata,) = [name for name in names if name.endswith("/METADATA")]
        return names, archive.read(metadata).decode()


def test_the_wheel_is_the_library_alone(wheel):
    """No top-level evaluation or experiments, which would shadow a user's own folders of these names."""
    names, _ = wheel
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "litefocus").rglob("*.py")}
    assert {name for name in names if ".dist-info/" not in name} == modules


def test_the_wheel_asks_for_torch_and_says_how_to_get_the_harness(wheel):
    _, metadata = wheel
    lines = metadata.splitlines()
    assert [line for line in lines if line.startswith("Requires-Dist") and "extra ==" not in line] == [
        "Requires-Dist: torch>=2.13"
    ]
    assert f"Version: {litefocus.__version__}" in lines
    assert "The harness is in the clone, not in the wheel" in metadata


def test_the_wheel_runs_the_readmes_code_in_a_project_that_has_its_own_evaluation_and_experiments(wheel_file, tmp_path):
    """The clone is not on the path: -S leaves out what an editable install put there."""
    zipfile.ZipFile(wheel_file).extractall(tmp_path / "site")
    for name in ("evaluation", "experiments"):
        (tmp_path / "project" / name).mkdir(parents=True)
        (tmp_path / "project" / name / "__init__.py").write_text(f"OWNER = 'the {name} of the user'", encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", text("README.md"), re.DOTALL)[0]
    smaller = {
        "cvssp/audioldm2": str(with_published_vocoder_class(tmp_path / "model")),
        "float16": "float32",
        '"cuda"': '"cpu"',
        "audio_length_in_s=80.0": "audio_length_in_s=5.12, num_inference_steps=2",
    }
    for published, tiny in smaller.items():
        assert published in code
        code = code.replace(published, tiny)
    code += """
import evaluation, experiments, litefocus
sites = litefocus.lite_focus_state(pipe).sites
for found in (litefocus.__file__, evaluation.OWNER, experiments.OWNER, audio.shape, sites):
    print(found)
"""
    paths = os.pathsep.join([str(tmp_path / "site"), sysconfig.get_path("purelib")])
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=tmp_path / "project",
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    library, *rest = done.stdout.splitlines()
    assert Path(library) == tmp_path / "site" / "litefocus" / "__init__.py"
    assert rest == ["the evaluation of the user", "the experiments of the user", "(81920,)", "12"]


def with_published_vocoder_class(folder):
    """The testbed with a random vocoder of the published class: its own is a class of the clone."""
    shutil.copytree(ROOT / "experiments" / "testbed" / "weights", folder)
    shutil.rmtree(folder / "vocoder")
    rates = {"upsample_rates": [4, 4, 4, 4], "upsample_kernel_sizes": [8, 8, 8, 8]}
    blocks = {"resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1]]}
    config = SpeechT5HifiGanConfig(model_in_dim=64, upsample_initial_channel=32, **rates, **blocks)
    SpeechT5HifiGan(config).save_pretrained(folder / "vocoder")
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    index["vocoder"] = ["transformers", "SpeechT5HifiGan"]
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def test_an_editable_install_puts_the_whole_clone_on_the_path(tmp_path):
    """A mapping of packages instead would leave evaluation and experiments out."""
    build("egg_info", "--egg-base", tmp_path, "build", "--build-base", tmp_path, "editable_wheel", "-d", tmp_path)
    (path,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        (added,) = [archive.read(name).decode() for name in archive.namelist() if name.endswith(".pth")]
    assert Path(added.strip()) == ROOT


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a clone: git says what the source distribution must hold")
def test_the_source_distribution_is_the_clone(tmp_path):
    build("egg_info", "--egg-base", tmp_path)
    listed = (tmp_path / "litefocus.egg-info" / "SOURCES.txt").read_text(encoding="utf-8").splitlines()
    sources = {os.path.normpath(line) for line in listed}
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(tracked.split("\0")) - {""} - sources == set()
    ignored = subprocess.run(
        ["git", "check-ignore", "--stdin"], input="\n".join(sources), cwd=ROOT, capture_output=True, text=True
    ).stdout.splitlines()
    assert [name for name in ignored if "egg-info" not in name] == []


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_version_stands_in_one_place_and_the_changelog_begins_with_it():
    assert re.findall(r"^## (\S+)", text("CHANGELOG.md"), re.MULTILINE)[0] == litefocus.__version__
    assert "version" not in yaml.safe_load(text("CITATION.cff"))
    assert re.search(r"^version\s*=\s*\"", text("pyproject.toml"), re.MULTILINE) is None


def test_each_python_and_torch_that_is_claimed_has_a_row_of_counts_in_the_matrix():
    """docs/versions.md says what tests/matrix/run.py runs, and pyproject.toml claims no more."""
    listed = re.findall(r"^    \((\"3[^)]*)\),$", text("tests/matrix/run.py"), re.MULTILINE)
    combinations = [re.findall(r"[\d.]+", line) for line in listed]
    rows = [re.findall(r"[\d.]+", line) for line in text("docs/versions.md").splitlines() if line.startswith("| 3")]
    assert [row[:4] for row in rows] == combinations
    assert all(int(passed) > 700 and failed == "0" for *_, passed, failed, _ in rows)
    claimed = re.findall(r"Python :: (3\.\d+)", text("pyproject.toml"))
    assert claimed == sorted({row[0] for row in rows})
    floors = re.findall(r"(?:torch|diffusers|transformers)>=([\d.]+)", text("pyproject.toml"))[:3]
    assert [lowest.removesuffix(".0") for lowest in combinations[0][1:]] == floors


def test_the_citation_names_the_pages():
    paper = yaml.safe_load(text("CITATION.cff"))["preferred-citation"]
    assert (paper["collection-title"], paper["year"]) == ("Interspeech 2024", 2024)
    assert (paper["start"], paper["end"]) == (4878, 4882)


def test_pre_commit_runs_what_make_test_runs_and_ci_runs_make_test():
    hooks = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"][0]["hooks"]
    (needs,) = re.findall(r"^test: (.*)", text("Makefile"), re.MULTILINE)
    assert [hook["entry"] for hook in hooks] == [f"make {target}" for target in needs.split() if "/" not in target]
    assert "\nmake test\n" in text(".ci/run")


def test_the_container_runs_the_two_commands_with_the_pinned_torch():
    (torch,) = re.findall(r"^TORCH \?= (\S+)", text("Makefile"), re.MULTILINE)
    container = text("Dockerfile")
    assert f"ARG TORCH={torch}\n" in container
    assert 'CMD ["make", "demo"]' in container
    assert "litefocus make test" in container
    copied = re.findall(r"^COPY (?!\. )(.*) \S+/$", container, re.MULTILINE)
    assert [name for line in copied for name in line.split() if not (ROOT / name).exists()] == []
    assert copied
