"""The package imports without weight: no torch, no network, names resolved on first use."""

import importlib
import subprocess
import sys

import pytest

BLOCKED = """
import socket, sys
def refuse(*args, **options):
    raise AssertionError("network touched")
socket.socket = socket.create_connection = socket.getaddrinfo = refuse
"""


def run(code, before=BLOCKED):
    done = subprocess.run([sys.executable, "-c", before + code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_loads_neither_torch_nor_numpy_nor_the_network():
    heavy = ["torch", "numpy", "scipy", "soundfile", "transformers", "diffusers"]
    assert run(f"import evaluation; print([m for m in {heavy} if m in sys.modules])") == "[]"


def test_array_metrics_never_load_torch():
    code = (
        "from evaluation import frechet_distance, kernel_audio_distance, kl_divergence, clap_score, fad_infinity\n"
        "import evaluation.audio.windows, evaluation.audio.resample\n"
        "import evaluation.metrics.longform, evaluation.metrics.inception_score\n"
        "print('torch' in sys.modules)"
    )
    assert run(code) == "False"


def test_public_names_stay_functions_after_their_modules_are_imported():
    code = (
        "import evaluation.evaluate\n"
        "import evaluation.metrics.clap_score\n"
        "import evaluation\n"
        "from evaluation import clap_score, evaluate\n"
        "print(clap_score([[1.0, 0.0]], [[3.0, 4.0]]), callable(evaluate), callable(evaluation.evaluate))"
    )
    assert run(code, before="") == "0.6 True True"


def test_unknown_names_are_refused_and_known_ones_listed():
    import evaluation

    with pytest.raises(AttributeError, match=r"no attribute 'fid'; it offers .*frechet_distance"):
        _ = evaluation.fid
    assert set(evaluation.__all__) <= set(dir(evaluation))
    assert evaluation.frechet_distance is importlib.import_module("evaluation.metrics.fad").frechet_distance
