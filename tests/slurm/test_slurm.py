"""A sharded run on a real SLURM, preempted, killed and queued again, equals the plain run byte for byte."""

import contextlib
import dataclasses
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import running_cluster, wait_for, why_not

from experiments.matrix.shards import Shard
from experiments.records import ClipRecord, MetricRecord, of_kind, read_records

ROOT = Path(__file__).resolve().parents[2]
SHARDS = (Shard(0, 2), Shard(1, 2))
# The testbed, because its audio can be scored. One clip at a time through the embedders: no bits depend on company.
RUN = (
    "+sweep=smoke",
    "pipeline=testbed",
    "~pipeline.size",
    "data=testbed",
    "pipeline.name=testbed",
    "data.count=2",
    "metrics=testbed",
    "durations=[1.28,2.56]",
    "threads=1",
    *(f"+metrics.embedders.{role}.batch_size=1" for role in ("frames", "classifier", "text")),
)
CLIPS = 6 * 2 * 2

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "a cluster can be started"),
]


def command(run_dir, *overrides):
    own = (f"out_dir={run_dir}", f"metrics.cache_dir={run_dir}/embeddings", *overrides)
    multirun = ["-m"] if any(word.startswith("hydra/launcher") for word in overrides) else []
    return [sys.executable, "-m", "experiments.run", *multirun, *RUN, *own]


def environment(**more):
    return {**os.environ, "OMP_NUM_THREADS": "1", "HYDRA_FULL_ERROR": "1", **more}


def run(run_dir, *overrides):
    done = subprocess.run(
        command(run_dir, *overrides), cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


def made_by(shard, run_dir):
    path = run_dir / shard.records_file
    return path.read_bytes().count(b'"kind": "clip"') if path.exists() else 0


def process_of(shard, run_dir):
    return int(re.search(r"\d+", (run_dir / f".lock.{shard.name}").read_text()).group())


@contextlib.contextmanager
def submitted(cluster, run_dir):
    """The client that submits the shards and waits for them."""
    launcher = (
        "hydra/launcher=slurm_cpu",
        "hydra.launcher.partition=low",
        "hydra.launcher.cpus_per_task=1",
        "hydra.launcher.mem_gb=1",
    )
    words = command(run_dir, "stages=[generate,score]", "shard.count=2", "shard.index=range(2)", *launcher)
    log = run_dir.with_suffix(".log")
    with log.open("w") as file:
        client = subprocess.Popen(
            words, cwd=ROOT, env=environment(SLURM_CONF=cluster.environment["SLURM_CONF"]), stdout=file, stderr=file
        )
        try:
            yield client, log
        finally:
            client.kill()
            client.wait()


def first_clip(shard, run_dir, number):
    """Send a signal to a shard's process once it has recorded a clip; how many it had then."""
    wait_for(lambda: made_by(shard, run_dir) >= 1, f"the first clip of {shard.name}")
    os.kill(process_of(shard, run_dir), number)
    return made_by(shard, run_dir)


def interrupt(cluster, run_dir, array):
    """Preempt shard 0 and kill shard 1 among their clips; see both queued again. How many clips each had made."""
    preempted, killed = f"{array}_0", f"{array}_1"
    at_stop = first_clip(SHARDS[0], run_dir, signal.SIGSTOP)
    at_kill = first_clip(SHARDS[1], run_dir, signal.SIGKILL)
    wait_for(lambda: cluster.jobs()[killed] == "FAILED", f"{killed} to fail")
    # A job that needs the whole node takes it. SLURM wakes shard 0 itself: SIGCONT and SIGTERM, then minutes of grace.
    cluster.call("sbatch", "--partition=high", "--ntasks=2", "--output=/dev/null", "--wrap=true")
    wait_for(lambda: cluster.detail(preempted, "Restarts") == "1", f"{preempted} to be queued again")
    assert made_by(SHARDS[0], run_dir) <= at_stop + 1, "more than the clip in hand was made"
    cluster.call("scontrol", "requeue", killed)
    for job in (preempted, killed):
        with contextlib.suppress(subprocess.CalledProcessError):  # It may be running already.
            cluster.start_now(job)
    return at_stop, at_kill


def wavs(run_dir):
    return {str(path.relative_to(run_dir)): path.read_bytes() for path in (run_dir / "audio").rglob("*.wav")}


def scores(run_dir):
    """Every metric record but the id of the start that made it, as text: nan equals nan."""
    return [str(dataclasses.replace(record, run_id="")) for record in of_kind(read_records(run_dir), MetricRecord)]


def test_a_preempted_killed_and_requeued_run_equals_the_plain_run(tmp_path):
    sharded, plain = tmp_path / "sharded", tmp_path / "plain"
    sharded.mkdir()
    with running_cluster(tmp_path / "cluster") as cluster, submitted(cluster, sharded) as (client, log):
        wait_for(lambda: len(cluster.jobs()) == 2 or client.poll() is not None, "two jobs")
        assert client.poll() is None, log.read_text()[-3000:]
        array = next(iter(cluster.jobs())).split("_")[0]
        for done in interrupt(cluster, sharded, array):
            assert 1 <= done < CLIPS // 2 - 2, "the interruption came too late to interrupt anything"
        wait_for(lambda: client.poll() is not None, "the shards to end")
        assert client.returncode == 0, log.read_text()[-3000:]
        assert {cluster.detail(f"{array}_{index}", "Restarts") for index in (0, 1)} == {"1"}
    run(sharded, "stages=[score,report]")
    run(plain, "stages=[generate,score,report]")

    clips = of_kind(read_records(sharded), ClipRecord)
    assert len(clips) == len({clip.audio for clip in clips}) == CLIPS
    assert len(of_kind(read_records(plain), ClipRecord)) == CLIPS
    assert wavs(sharded) == wavs(plain)
    assert len(set(wavs(plain).values())) > CLIPS // 2  # Not all silence.
    assert len(scores(plain)) > 50
    assert scores(sharded) == scores(plain)
