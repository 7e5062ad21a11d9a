"""Files damaged between two starts: found, named, and made again when the user says so."""

import shutil

import pytest
from jobs import Job, damage, finish

from experiments.records import RECORDS_FILE, ClipRecord, of_kind, read_records

WHOLE = 3


@pytest.fixture
def run_dir(undisturbed, tmp_path):
    """A copy of the undisturbed run."""
    return shutil.copytree(undisturbed, tmp_path / "run")


@pytest.mark.parametrize("kept_bytes", [1, 200, -1])
def test_a_truncated_last_record_is_made_again(undisturbed, run_dir, survived, kept_bytes):
    path = run_dir / RECORDS_FILE
    *whole, last = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole) + last[:kept_bytes])
    finish(run_dir)
    survived("truncated last record", 1, damage(run_dir, undisturbed))


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def replace(path):
    """Another clip's audio under this name: a valid wav of the same length."""
    other = next(p for p in sorted(path.parents[1].rglob("*.wav")) if p.read_bytes() != path.read_bytes())
    path.write_bytes(other.read_bytes())


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("harm", [cut, replace, empty])
def test_a_damaged_wav_is_refused_by_name_and_made_again_once_deleted(undisturbed, run_dir, survived, harm):
    clip = of_kind(read_records(run_dir), ClipRecord)[WHOLE]
    harm(run_dir / clip.audio)
    job = Job(run_dir)
    assert job.wait() == 2
    assert f"error: {clip.audio}: its content is not what was recorded" in job.error()
    (run_dir / clip.audio).unlink()
    finish(run_dir)
    survived(f"wav {harm.__name__}", 1, damage(run_dir, undisturbed))


def test_a_lost_wav_is_made_again(undisturbed, run_dir, survived):
    clip = of_kind(read_records(run_dir), ClipRecord)[WHOLE]
    (run_dir / clip.audio).unlink()
    finish(run_dir)
    survived("wav lost", 1, damage(run_dir, undisturbed))


def test_a_record_damaged_inside_the_file_is_refused_with_its_line(undisturbed, run_dir):
    path = run_dir / RECORDS_FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[2][:40] + b"\n", *lines[3:]]))
    before = path.read_bytes()
    job = Job(run_dir)
    assert job.wait() == 2
    assert f"{RECORDS_FILE}:3: not a JSON record" in job.error()
    assert path.read_bytes() == before
