"""The errors of chunked decoding on the shipped testbed's VAE: nearer with overlap."""

import json

from experiments.testbed.assessment import decoding_error
from experiments.testbed.assessment.decoding_error import ErrorSettings, run


def test_errors_on_the_testbed(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding_error, "OVERLAPS", (1, 16))
    text = run(ErrorSettings(clips=1, length=1, chunk=40, out=str(tmp_path)))
    hard, soft = (json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines())
    assert 0 < soft["mel_mean"] < hard["mel_mean"] < 0.5
    assert "against decoding 80 at once" in text
