"""A fetched file is what was pinned, or it is refused. No network: urlopen is replaced."""

import hashlib
import io
import urllib.request

import pytest

from experiments.system.download import fetch

CONTENT = b"audiocap_id,caption\n"
SHA = hashlib.sha256(CONTENT).hexdigest()


def serve(monkeypatch, content):
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: io.BytesIO(content))


def test_fetched_once_then_read_locally(tmp_path, monkeypatch):
    serve(monkeypatch, CONTENT)
    path = fetch("https://example.org/a", SHA, tmp_path / "sub" / "a.csv", "data.csv")
    assert path.read_bytes() == CONTENT
    monkeypatch.setattr(urllib.request, "urlopen", None)
    assert fetch("https://example.org/a", SHA, path, "data.csv") == path


def test_other_content_is_refused_and_not_kept(tmp_path, monkeypatch):
    serve(monkeypatch, b"changed")
    with pytest.raises(ValueError, match=f"expected {SHA}"):
        fetch("https://example.org/a", SHA, tmp_path / "a.csv", "data.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_changed_local_file_is_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"changed")
    with pytest.raises(ValueError, match=r"a\.csv: sha256 is .* set data\.csv to the right file"):
        fetch("https://example.org/a", SHA, tmp_path / "a.csv", "data.csv")


def test_offline_names_the_source_and_the_place(tmp_path, monkeypatch):
    def refuse(url, timeout):
        raise OSError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(
        ConnectionError, match=r"cannot reach https://example.org/a \(no route\); put the file at .*a\.csv"
    ):
        fetch("https://example.org/a", SHA, tmp_path / "a.csv", "data.csv")
