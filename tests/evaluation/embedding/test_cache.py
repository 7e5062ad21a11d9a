"""The embedding cache: content keys, exact round trips, atomic writes, damage."""

import os

import numpy as np
import pytest

from evaluation.embedding.cache import EmbeddingCache, KeptEmbeddings
from evaluation.files.whole import sha256_file


def test_round_trip_is_exact_in_float32(tmp_path):
    cache = EmbeddingCache(tmp_path / "new" / "cache")
    rows = np.random.default_rng(0).standard_normal((3, 5))
    key = cache.key("content", "identity", "text")
    assert cache.get(key) is None
    cache.put(key, {"embedding": rows})
    found = cache.get(key)["embedding"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, rows.astype(np.float32))
    assert (cache.hits, cache.misses) == (1, 1)


def test_every_part_of_a_key_matters():
    cache = EmbeddingCache(None)
    keys = {cache.key(*parts) for parts in (("a", "b", "c"), ("x", "b", "c"), ("a", "x", "c"), ("a", "b", "x"))}
    assert len(keys) == 4


def test_no_folder_means_no_cache(tmp_path):
    cache = EmbeddingCache(None)
    cache.put("key", {"embedding": np.ones(2)})
    assert cache.get("key") is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", [b"", b"not a zip", None])
def test_a_damaged_entry_is_reported_and_replaced(tmp_path, caplog, damage):
    cache = EmbeddingCache(tmp_path)
    cache.put("abcd", {"embedding": np.arange(1000.0)})
    (entry,) = tmp_path.rglob("*.npz")
    entry.write_bytes(entry.read_bytes()[:-300] if damage is None else damage)
    assert cache.get("abcd") is None
    assert "cannot be read" in caplog.text
    cache.put("abcd", {"embedding": np.ones(2)})
    assert cache.get("abcd")["embedding"].tolist() == [1, 1]


def directory(content):
    """Where the first entry of the zip's own directory begins."""
    return content.index(b"PK\1\2")


@pytest.mark.parametrize(("at", "value", "reason"), [(6, 99, "version"), (8, 1, "encrypted"), (10, 99, "compression")])
def test_a_damaged_zip_directory_is_a_damaged_entry(tmp_path, caplog, at, value, reason):
    cache = EmbeddingCache(tmp_path / "cache")
    cache.put("abcd", {"embedding": np.ones(2)})
    (entry,) = tmp_path.rglob("*.npz")
    content = bytearray(entry.read_bytes())
    content[directory(content) + at] = value
    entry.write_bytes(content)
    assert cache.get("abcd") is None
    assert reason in caplog.text
    kept = KeptEmbeddings({}, {"a": {"embedding": np.ones((1, 500), np.float32)}})
    kept.write(tmp_path / "kept.npz")
    content = bytearray((tmp_path / "kept.npz").read_bytes())
    content[directory(content) + at] = value
    (tmp_path / "kept.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"kept\.npz: no file of embeddings"):
        KeptEmbeddings.read(tmp_path / "kept.npz", {})


def test_kept_embeddings_whose_compressed_bytes_are_damaged_are_named(tmp_path):
    values = np.random.default_rng(0).standard_normal((4, 50)).astype(np.float32)
    KeptEmbeddings({}, {"a": {"embedding": values}}).write(tmp_path / "kept.npz")
    good = (tmp_path / "kept.npz").read_bytes()
    refused = 0
    for at in range(30, len(good) // 2):
        (tmp_path / "kept.npz").write_bytes(good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :])
        try:  # a byte of a date is harmless
            KeptEmbeddings.read(tmp_path / "kept.npz", {})
        except ValueError as error:
            refused += "kept.npz: no file of embeddings" in str(error)
    assert refused > len(good) // 4


@pytest.mark.parametrize(
    ("left", "reason"),
    [
        ({"samples": np.ones(2)}, "lacks embedding"),
        ({"embedding": np.ones((2, 3))}, "lacks samples"),
        ({"embedding": np.ones((0, 3)), "samples": np.ones(0)}, "have rows"),
        ({"embedding": np.ones((2, 3)), "samples": np.ones(1)}, "have rows"),
        ({"embedding": np.float32(1), "samples": np.ones(1)}, "have rows"),
    ],
)
def test_an_entry_that_lost_an_array_or_rows_is_absent(tmp_path, caplog, left, reason):
    cache = EmbeddingCache(tmp_path)
    cache.put("abcd", {"embedding": np.ones((2, 3)), "samples": np.ones(2)})
    assert cache.get("abcd", ("embedding", "samples"))["samples"].tolist() == [1, 1]
    (entry,) = tmp_path.rglob("*.npz")
    np.savez(entry, **left)
    assert cache.get("abcd", ("embedding", "samples")) is None
    assert reason in caplog.text


def test_pickles_are_refused(tmp_path, caplog):
    cache = EmbeddingCache(tmp_path)
    cache.put("abcd", {"embedding": np.ones(2)})
    (entry,) = tmp_path.rglob("*.npz")
    np.savez(entry, embedding=np.array([{"code": 1}], dtype=object))
    assert cache.get("abcd") is None
    assert "cannot be read" in caplog.text


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="disk full"):
        EmbeddingCache(tmp_path).put("abcd", {"embedding": np.ones(2)})
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_entries_have_the_mode_that_the_umask_gives(tmp_path):
    before = os.umask(0o022)
    try:
        EmbeddingCache(tmp_path).put("abcd", {"embedding": np.ones(2)})
    finally:
        os.umask(before)
    (entry,) = tmp_path.rglob("*.npz")
    assert entry.stat().st_mode & 0o777 == 0o644


def test_hash_of_a_file_is_its_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_kept_embeddings_come_back_with_what_was_kept_before(tmp_path):
    wav = tmp_path / "gone.wav"
    kept = KeptEmbeddings({wav: "content"}, {"old": {"embedding": np.ones((1, 2), np.float32)}})
    cache = EmbeddingCache(tmp_path / "cache", kept)
    cache.put("new", {"embedding": np.full((1, 2), 2.0)})
    assert cache.get("absent") is None
    EmbeddingCache(tmp_path / "cache").put("on disk", {"embedding": np.zeros((1, 2))})
    assert cache.get("on disk") is not None
    assert kept.write(tmp_path / "kept.npz") == 3
    again = EmbeddingCache(None, KeptEmbeddings.read(tmp_path / "kept.npz", {wav: "content"}))
    assert again.get("old")["embedding"].tolist() == [[1.0, 1.0]]
    found = again.get("new")
    assert found["embedding"].tolist() == [[2.0, 2.0]]
    assert found["embedding"].dtype == np.float32
    assert (again.content_of(wav), again.content_of(tmp_path / "other.wav")) == ("content", None)
    first = (tmp_path / "kept.npz").read_bytes()
    again.kept.write(tmp_path / "kept.npz")
    assert (tmp_path / "kept.npz").read_bytes() == first


@pytest.mark.parametrize("content", [b"", b"no zip"])
def test_a_file_that_holds_no_embeddings_is_named(tmp_path, content):
    (tmp_path / "kept.npz").write_bytes(content)
    with pytest.raises(ValueError, match="kept.npz: no file of embeddings"):
        KeptEmbeddings.read(tmp_path / "kept.npz", {})


GROUP = {"embedding/2/keys": ["a", "b"], "embedding/2/rows": [1, 2], "embedding/2/values": np.zeros((3, 2), np.float16)}


@pytest.mark.parametrize(
    "changed",
    [
        {"embedding/2/rows": [1, 1]},
        {"embedding/2/rows": [3, 0]},
        {"embedding/2/rows": [1.0, 2.0]},
        {"embedding/2/keys": ["a"]},
        {"embedding/2/keys": [1, 2]},
        {"embedding/2/values": np.zeros((3, 2), int)},
        {"embedding/2/values": np.array([[{}, 0], [0, 0], [0, 0]], dtype=object)},  # never unpickled
        {"other": [1]},
    ],
)
def test_kept_embeddings_that_do_not_fit_each_other_are_refused(tmp_path, changed):
    np.savez(tmp_path / "kept.npz", **GROUP)
    assert sorted(KeptEmbeddings.read(tmp_path / "kept.npz", {}).entries) == ["a", "b"]
    np.savez(tmp_path / "kept.npz", **{**GROUP, **changed})
    with pytest.raises(ValueError, match="kept.npz: no file of embeddings"):
        KeptEmbeddings.read(tmp_path / "kept.npz", {})


def test_what_is_kept_is_what_was_scored(tmp_path):
    """Half precision, and the same numbers in the run that computes them, a warm one and one from the file alone."""
    rows = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    given = {"embedding": rows, "logits": rows[:, :2] * 100, "samples": np.array([81_921, 81_920, 3])}
    kept = KeptEmbeddings({})
    cache = EmbeddingCache(tmp_path / "cache", kept)
    cold = cache.put("clip", given)
    cache.put("caption", {"embedding": rows[0]})
    warm = EmbeddingCache(tmp_path / "cache", KeptEmbeddings({})).get("clip")
    kept.write(tmp_path / "kept.npz")
    read = EmbeddingCache(None, KeptEmbeddings.read(tmp_path / "kept.npz", {}))
    for found in (cold, warm, read.get("clip")):
        assert np.array_equal(found["embedding"], rows.astype(np.float16).astype(np.float32))
        assert np.array_equal(found["logits"], (rows[:, :2] * 100).astype(np.float16).astype(np.float32))
        assert found["samples"].tolist() == [81_921, 81_920, 3]
        assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
    assert np.array_equal(read.get("caption")["embedding"], cold["embedding"][0])
    without = EmbeddingCache(tmp_path / "cache")
    assert np.array_equal(without.get("clip")["embedding"], rows)  # the folder that studies share is exact


def test_what_half_precision_cannot_hold_is_refused():
    with pytest.raises(ValueError, match=r"logits holds 65536; embeddings are kept in half precision, up to 65504"):
        EmbeddingCache(None, KeptEmbeddings({})).put("clip", {"logits": np.array([[-65_536.0]])})
