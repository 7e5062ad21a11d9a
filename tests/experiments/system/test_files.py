"""A file is there whole or not at all, whoever writes beside us; its hash is sha256sum's."""

import subprocess
from concurrent.futures import ThreadPoolExecutor

import matplotlib.pyplot as plt
import pytest

from experiments.figures.style import save
from experiments.system.files import sha256_file, whole_file, write_whole
from experiments.tables.formats import ResultTable
from experiments.tables.quality_tables import write_tables


@pytest.mark.parametrize("shared", [False, True])
def test_what_fails_half_way_leaves_the_old_content_and_no_other_file(tmp_path, shared):
    path = tmp_path / "new folder" / "a.bin"
    write_whole(path, b"old", shared)
    with pytest.raises(OSError, match="disk full"), whole_file(path, shared) as file:
        half_way(None, file)
    assert path.read_bytes() == b"old"
    assert [p.name for p in path.parent.iterdir()] == ["a.bin"]


def test_what_a_killed_process_left_is_overwritten(tmp_path):
    (tmp_path / ".a.txt.partial").write_bytes(b"x" * 100)
    write_whole(tmp_path / "a.txt", "naïve Δ")
    assert (tmp_path / "a.txt").read_bytes() == "naïve Δ".encode()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_writers_of_one_shared_file_do_not_write_into_each_other(tmp_path):
    contents = [bytes([number]) * 200_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: write_whole(tmp_path / "a.bin", content, shared=True), contents * 4))
    assert (tmp_path / "a.bin").read_bytes() in contents
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_the_hash_is_sha256sums(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(range(256)) * 5000)
    found = subprocess.run(["sha256sum", str(path)], capture_output=True, text=True, check=True).stdout.split()[0]
    assert sha256_file(path) == found


def test_a_figure_or_table_that_cannot_be_drawn_leaves_the_earlier_one(tmp_path, monkeypatch):
    figure, _ = plt.subplots()
    before = {path: path.read_bytes() for path in save(figure, tmp_path / "figure")}
    figure, _ = plt.subplots()
    monkeypatch.setattr(type(figure), "savefig", half_way)
    with pytest.raises(OSError, match="disk full"):
        save(figure, tmp_path / "figure")
    table = ResultTable("table", "Title", ["a"], ["a"], [["x"]])
    before |= {path: path.read_bytes() for path in write_tables([table], tmp_path)}
    monkeypatch.setattr("os.fsync", half_way)
    with pytest.raises(OSError, match="disk full"):
        write_tables([ResultTable("table", "Other", ["a"], ["a"], [["y"]])], tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def half_way(*arguments, **options):
    for target in arguments[1:]:
        target.write(b"\x89PNG")
    raise OSError("disk full")
