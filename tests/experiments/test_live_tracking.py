"""What W&B shows while clips are made: read back from the real library's offline files."""

import itertools
from pathlib import Path

import pytest
from clip_material import FakePipeline, method
from listen_material import run_record
from wandb_material import offline_records, options, read_back

from experiments.datasets.prompts import Prompt
from experiments.matrix.clips import plan_clips
from experiments.matrix.conditions import Condition
from experiments.matrix.shards import Shard
from experiments.records import RunRecord, append_record, of_kind, read_records
from experiments.records.run import Run
from experiments.stages.generate import generate_clips
from experiments.tracking.tracker import Tracker, tracking_id

PROMPTS = [Prompt("a", "Rain"), Prompt("b", "Wind"), Prompt("c", "Sea")]
PLAN = plan_clips([Condition(method(name), 0.5, 2, 3.5) for name in ("dense", "litefocus")], PROMPTS, [0])


@pytest.fixture(autouse=True)
def _apart(tmp_path_factory, monkeypatch):
    pytest.importorskip("wandb", reason="needs the extra wandb")
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path_factory.mktemp("staged")))


def start(run_dir, pipeline, plan=PLAN, shard=None, **changes):
    """One start, tracked: a clock that moves on by 1.5 s whenever it is read, and clips that take 1 s."""
    shard = shard or Shard()
    number = len(of_kind(read_records(run_dir), RunRecord))
    record = run_record([prompt.id for prompt in PROMPTS], [0.5], {"dense": "Dense", "litefocus": "LiteFocus"})
    object.__setattr__(record, "run_id", f"r{number}{shard.name}")
    object.__setattr__(record, "number", number + 1)
    append_record(run_dir, record, shard.records_file)
    clock = itertools.count(0, 1.5)
    with Tracker(options(**changes), run_dir, shard, lambda: next(clock)) as tracker:
        tracker.begin(plan)
        generate_clips(pipeline, plan, run_dir, record.run_id, file_name=shard.records_file, after_clips=tracker.clips)
        tracker.results()


@pytest.mark.slow
def test_a_run_that_was_interrupted_shows_every_clip_once(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path, FakePipeline(fail_at=3))
    first, rows, totals = read_back(tmp_path)
    assert [row["progress/clips_done"] for row in rows] == [1, 2]
    assert rows[0]["progress/condition"] == "dense_0.5s_2steps_g3.5"
    assert (rows[0]["progress/clip_s"], rows[0]["progress/step_s"], rows[0]["progress/duration_s"]) == (1.0, 0.25, 0.5)
    assert (rows[1]["progress/lost_s"], rows[1]["progress/clips_failed"]) == (1.0, 0)  # 3 s gone, 2 s in clips
    assert rows[1]["progress/hours_left"] * 3600 == pytest.approx(3 * 2, rel=0.2)  # 2 of 6 clips after 3 s
    assert totals["progress/clips_planned"] == 6
    assert [r.exit.exit_code for r in offline_records(tmp_path) if r.WhichOneof("record_type") == "exit"] == [1]
    assert "to upload it: wandb sync" in capsys.readouterr().out

    for pipeline in (FakePipeline(fail_at=2), FakePipeline(bad="c")):
        try:
            start(tmp_path, pipeline)
        except KeyboardInterrupt:
            continue
    run, rows, totals = read_back(tmp_path)
    (folder,) = tmp_path.glob("wandb/offline-run-*")
    assert folder.name.endswith(run.run_id)
    assert (run.run_id, run.run_group) == (first.run_id, "sweep")
    assert [row["_step"] for row in rows] == list(range(len(rows)))
    done = [row for row in rows if "progress/clips_done" in row]
    assert [row["progress/clips_done"] for row in done] == [1, 2, 3, 4, 4, 4]  # two came to nothing
    assert "progress/lost_s" not in done[2]  # an earlier start's
    assert [row["progress/clips_failed"] for row in done[3:]] == [0, 1, 2]
    assert totals["progress/clips_failed"] == 2
    assert totals["progress/clips_done"] == 4
    assert totals["progress/now"] == "reported"


@pytest.mark.slow
def test_a_shard_has_a_run_of_its_own_in_the_group(tmp_path):
    shards = [Shard(index, 2) for index in (0, 1)]
    for shard in (*shards, shards[0]):
        start(tmp_path, FakePipeline(), shard.select(PLAN), shard)
    recorded = Run.load(tmp_path)
    ids = [tracking_id(recorded, shard) for shard in (Shard(), *shards)]
    assert len(set(ids)) == 3
    folders = sorted(path.name.rpartition("-")[2] for path in tmp_path.glob("wandb/offline-run-*"))
    assert folders == sorted(ids[1:])
    run, _, totals = read_back(tmp_path, ids[1])
    assert (run.run_group, run.job_type, run.display_name) == ("sweep", "shard", "synthetic shard-00-of-02")
    own = len(shards[0].select(PLAN))
    assert (totals["progress/clips_done"], totals["progress/clips_planned"]) == (own, own)
    assert 0 < own < len(PLAN)


def test_trouble_with_wandb_ends_the_tracking_and_no_clip(tmp_path, monkeypatch, caplog):
    import wandb

    class Gone:
        summary, id = {}, "x"

        def define_metric(self, *_, **__):
            pass

        def log(self, _):
            raise BrokenPipeError("the service\nis gone")

    monkeypatch.setattr(wandb, "init", lambda **_: Gone())
    with pytest.raises(ConnectionError, match=r"not tracked \(the service is gone\); the report is written"):
        start(tmp_path, FakePipeline())
    assert len(read_records(tmp_path)) == 1 + len(PLAN)
    warned = [record.message for record in caplog.records if "not tracked from here on" in record.message]
    assert warned == ["not tracked from here on (the service is gone); stages=[report] tracks the whole run"]
    assert not Path(tmp_path, "wandb").exists()
