"""diffusers' own fast tests, stock and with LiteFocus or exact windows in the models that they build, as a table.

    python tests/upstream/run.py CHECKOUT    CHECKOUT: a git clone of huggingface/diffusers, with its tags

The tests come from the checkout, at the tag beside each file; the library that they test is the installed one. Needs
no network: tokenizers of the hub are replaced by local ones. Needs
`pip install parameterized requests-mock`, which the tests import.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
# The newest tag that runs them: v0.34.0 skips AudioLDM and MusicLDM as deprecated, later tags do not have these files.
FOCUS, WINDOWS = ("litefocus", "all_keys"), ("exact_windows",)
FILES = (
    ("v0.40.0", "tests/pipelines/audioldm2/test_audioldm2.py", FOCUS),
    ("v0.33.1", "tests/pipelines/audioldm/test_audioldm.py", FOCUS),
    ("v0.33.1", "tests/pipelines/musicldm/test_musicldm.py", FOCUS),
    ("v0.40.0", "tests/models/autoencoders/test_models_autoencoder_same.py", WINDOWS),
    ("v0.40.0", "tests/pipelines/stable_audio_3/test_stable_audio_3.py", WINDOWS),
    ("v0.40.0", "tests/models/transformers/test_models_transformer_ace_step.py", WINDOWS),
    ("v0.40.0", "tests/pipelines/ace_step/test_ace_step.py", WINDOWS),
)
# Test name -> (outcome, the first line of its error).
Outcomes = dict[str, tuple[str, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--only", default="", help="part of a test file's path")
    options = parser.parse_args()
    rows, differences = [], []
    for tag, file, injections in FILES:
        if options.only not in file:
            continue
        with tempfile.TemporaryDirectory() as folder:
            unpack_tests(options.checkout, tag, Path(folder))
            stock = run_tests(Path(folder), file, "nothing")
            for inject in injections:
                injected = run_tests(Path(folder), file, inject)
                new = [name for name in stock if stock[name][0] == "passed" != injected[name][0]]
                rows.append((Path(file).stem, tag, counts(stock), inject, counts(injected), str(len(new))))
                reasons = Counter(injected[name][1] for name in new)
                differences += [
                    f"- {Path(file).stem}, {inject}, {count} x {reason}" for reason, count in reasons.items()
                ]
    print(table(("tests", "tag", "stock", "injected", "with it", "no longer pass"), rows))
    print("\n".join(("", *differences)))


def unpack_tests(checkout: Path, tag: str, folder: Path) -> None:
    archive = subprocess.run(["git", "-C", checkout, "archive", tag, "tests"], check=True, stdout=subprocess.PIPE)
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)


def run_tests(folder: Path, file: str, inject: str) -> Outcomes:
    report = folder / f"{inject}.xml"
    environment = os.environ | {
        "INJECT": inject,
        "PYTHONPATH": os.pathsep.join((str(HERE), str(HERE.parent.parent), os.environ.get("PYTHONPATH", ""))),
        "HF_HUB_OFFLINE": "1",
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        file,
        "-q",
        "-p",
        "injection",
        f"--junitxml={report}",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode not in (0, 1):
        sys.exit(f"{file} with INJECT={inject}: pytest ended with {done.returncode}\n{done.stdout[-3000:]}")
    return dict(outcome(case) for case in ElementTree.parse(report).iter("testcase"))


def outcome(case: ElementTree.Element) -> tuple[str, tuple[str, str]]:
    name = f"{case.attrib['classname'].split('.')[-1]}.{case.attrib['name']}"
    # pytest reports an expected failure as skipped.
    for tag, word in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
        found = case.find(tag)
        if found is not None:
            return name, (word, found.attrib.get("message", "").splitlines()[0])
    return name, ("passed", "")


def counts(outcomes: Outcomes) -> str:
    tally = Counter(word for word, _ in outcomes.values())
    return ", ".join(f"{tally[word]} {word}" for word in ("passed", "failed", "skipped"))


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
