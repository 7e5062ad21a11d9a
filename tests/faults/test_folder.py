"""The run folder: full, read-only, shared by two, left by a lost worker, or asked for something else."""

import os
import signal
import subprocess
from contextlib import contextmanager, suppress

import pytest
from jobs import AUDIBLE, CLIPS, Job, clip_count, damage, finish

MIB = 2**20


@contextmanager
def tmpfs(folder, options):
    """A file system of its own in memory, where this user may mount one."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"this user cannot mount a tmpfs ({mounted.stderr.strip()})")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_said_in_one_line_and_the_run_resumes(undisturbed, tmp_path, survived):
    with tmpfs(tmp_path / "disk", "size=80m") as disk:
        run_dir = disk / "run"
        job = Job(run_dir)
        job.wait_until(lambda: clip_count(run_dir) >= 1)
        fill(disk / "filler")
        assert job.wait() == 2
        assert "No space left on device" in job.error()
        assert str(run_dir) in job.error()
        assert "the same command resumes" in job.error()
        assert 0 < clip_count(run_dir) < CLIPS
        (disk / "filler").unlink()
        finish(run_dir)
        survived("disk full", 1, damage(run_dir, undisturbed))


def fill(path):
    """Take all the space that a file system has."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(1024)):
            pass


def test_a_disk_that_is_too_small_is_refused_before_any_work(tmp_path):
    with tmpfs(tmp_path / "disk", "size=1m") as disk:
        job = Job(disk / "run")
        assert job.wait() == 2
        assert job.error().startswith("error: no disk space: ")
        assert clip_count(disk / "run") == 0


def test_a_read_only_run_folder_is_named_in_one_line(undisturbed, tmp_path, survived):
    with tmpfs(tmp_path / "disk", "size=80m") as disk:
        run_dir = disk / "run"
        _stop_after(run_dir, 2)
        _remount(disk, "ro")
        job = Job(run_dir)
        assert job.wait() == 2
        assert job.error() == (
            f"error: {run_dir} cannot be written (Read-only file system); set out_dir to a folder that can"
        )
        _remount(disk, "rw")
        finish(run_dir)
        survived("read-only run folder", 1, damage(run_dir, undisturbed))


def _stop_after(run_dir, clips):
    job = Job(run_dir)
    job.wait_until(lambda: clip_count(run_dir) >= clips)
    assert job.kill()


def _remount(folder, mode):
    subprocess.run(["mount", "-o", f"remount,{mode}", str(folder)], check=True)


def test_a_second_run_on_one_folder_is_told_who_holds_it_and_for_how_long(undisturbed, tmp_path, survived):
    run_dir = tmp_path / "run"
    first = Job(run_dir)
    first.wait_until(lambda: clip_count(run_dir) >= 1)
    first.send(signal.SIGSTOP)
    second = Job(run_dir)
    assert second.wait() == 2
    assert f"{run_dir} is in use by process {first.process.pid} on {os.uname().nodename} since " in second.error()
    assert " ago)" in second.error()
    first.send(signal.SIGCONT)
    assert first.wait() == 0
    survived("two runs on one folder", 1, damage(run_dir, undisturbed))


def test_a_worker_that_hangs_and_is_lost_gives_its_folder_back(undisturbed, tmp_path, survived):
    run_dir = tmp_path / "run"
    worker = Job(run_dir)
    worker.wait_until(lambda: clip_count(run_dir) >= 1)
    worker.send(signal.SIGSTOP)
    assert worker.kill()
    finish(run_dir)
    survived("worker lost", 1, damage(run_dir, undisturbed))


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (
            "methods.litefocus.patch.config.sparse_ratio=0.3",
            "method litefocus.patch.config.sparse_ratio was 0.1, now 0.3",
        ),
        ("dtype=bfloat16", "dtype was 'float32', now 'bfloat16'"),
    ],
)
def test_a_changed_configuration_is_refused_with_the_difference(undisturbed, tmp_path, survived, change, difference):
    run_dir = tmp_path / "run"
    _stop_after(run_dir, 2)
    before = (run_dir / "records.jsonl").read_bytes()
    job = Job(run_dir, [*AUDIBLE, change])
    assert job.wait() == 2
    assert difference in job.error()
    assert (run_dir / "records.jsonl").read_bytes() == before
    finish(run_dir)
    survived("changed configuration on resume", 1, damage(run_dir, undisturbed))


def test_ctrl_c_is_one_line_and_exit_code_130(undisturbed, tmp_path, survived):
    run_dir = tmp_path / "run"
    job = Job(run_dir)
    job.wait_until(lambda: clip_count(run_dir) >= 2)
    job.send(signal.SIGINT)
    assert job.wait() == 130
    assert job.error() == "error: interrupted; finished clips are kept, the same command resumes"
    assert (run_dir / ".lock").read_text() == ""
    finish(run_dir)
    survived("Ctrl-C", 1, damage(run_dir, undisturbed))
