"""Tracking with the real wandb library, offline: what was sent is read back from its transaction log."""

import hashlib
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
from listen_material import METHODS, make_run, metric, run_record, timing
from PIL import Image
from quality_material import HOSTILE, difference, value
from wandb_material import options, read_back

from experiments.records import ClipRecord, append_record, of_kind, read_records
from experiments.records.run import Run
from experiments.tracking.results import history, summary, typed
from experiments.tracking.tracker import Tracker, check_tracker, tracking_id

CAPTIONS = {f"p{index}": caption for index, caption in enumerate(["Rain", *HOSTILE[:4]])}


def track(run_dir, chosen):
    """What the report stage does."""
    check_tracker(chosen)
    with Tracker(chosen, run_dir) as tracker:
        return tracker.results()


@pytest.fixture
def run_dir(tmp_path, monkeypatch):
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "staged"))
    make_run(tmp_path, CAPTIONS, [0.1], {"dense": "Dense", "litefocus": "LiteFocus"}, fail=[("p4", 0.1, "dense")])
    append_record(tmp_path, timing(0.1, dense=[4.0, 6.0], litefocus=[2.0, 2.0]))
    append_record(
        tmp_path, metric("litefocus_0.1s_2steps_g3.5", "litefocus", 0.1, "clap", 0.02, baseline="dense", n_scored=5)
    )
    (tmp_path / "speed.csv").write_text("duration_s,method\n0.1,dense\n")
    figures = tmp_path / "figures"
    figures.mkdir()
    Image.new("RGB", (4, 4)).save(figures / "latency.png")
    return tmp_path


def files(run_dir, folder):
    return sorted(run_dir.glob(f"wandb/offline-run-*/files/media/{folder}/**/*.*"))


def table(run_dir, name):
    (path,) = [path for path in files(run_dir, "table") if path.name.startswith(f"{name}_")][-1:]
    return json.loads(path.read_text())


@pytest.mark.slow
def test_what_was_sent_offline_reads_back(run_dir):
    pytest.importorskip("wandb", reason="needs the extra wandb")
    told = track(run_dir, options(tags=["pilot", 7], notes="mine"))
    run, rows, totals = read_back(run_dir)
    assert (run.run_id, run.run_group, run.project, run.display_name) == (
        tracking_id(Run.load(run_dir)),
        "sweep",
        "litefocus",
        "synthetic",
    )
    sent = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert sent["run"]["steps"] == 2
    assert sent["pipeline"]["name"] == "synthetic"
    assert [row["progress/clips_done"] for row in rows if "progress/clips_done" in row] == [*range(1, 10)]
    (curve,) = [row for row in rows if "duration_s" in row]
    assert curve["duration_s"] == 0.1
    assert curve["step_s/dense"] == 5.0
    assert curve["speedup/litefocus"] == pytest.approx(6**0.5)  # rounds of 2 and 3
    assert totals["clap/litefocus-dense/0.1s"] == 0.02
    assert totals["clap/litefocus/0.1s"] == pytest.approx(0.03)
    assert "clap/litefocus/0.1s.low" not in totals  # of five prompts no table prints an interval
    assert [path.suffix for path in files(run_dir, "images")] == [".png"]
    assert table(run_dir, "timing_rounds")["data"][1] == [0.1, "dense", "r", 1, 6.0]
    assert table(run_dir, "speed")["data"] == [[0.1, "dense"]]
    assert list(run.tags) == ["pilot", "7"]
    assert run.notes.splitlines()[0] == "mine"
    assert "commit 0123456789ab" in run.notes
    (folder,) = run_dir.glob("wandb/offline-run-*")
    assert told == f"to upload it: wandb sync {folder}\n"

    clips = table(run_dir, "clips")
    columns = clips["columns"]
    cells = [dict(zip(columns, row, strict=True)) for row in clips["data"]]
    assert {cell["caption"] for cell in cells} == {"Rain", "'=cmd()", *HOSTILE[1:4]}
    assert [cell["gap"] for cell in cells if cell["gap"]] == ["failed: 7 non-finite samples in the generated audio"]
    assert len(cells) == 10
    heard = next(row["audio/0.1s/captions"] for row in rows if "audio/0.1s/captions" in row)
    assert heard == [
        f"p{index} · {caption} · 0.1 · {method} · 0"
        for index, caption in enumerate(["Rain", "'=cmd()"])
        for method in ("Dense", "LiteFocus")
    ]
    recorded = {clip.sha256 for clip in of_kind(read_records(run_dir), ClipRecord) if clip.prompt_id in ("p0", "p1")}
    assert {hashlib.sha256(path.read_bytes()).hexdigest() for path in files(run_dir, "audio")} == recorded


@pytest.mark.slow
def test_tracking_again_replaces_and_doubles_nothing(run_dir):
    pytest.importorskip("wandb", reason="needs the extra wandb")
    track(run_dir, options())
    _, once, _ = read_back(run_dir)
    append_record(run_dir, run_record(CAPTIONS, [0.1]))
    track(run_dir, options())
    track(run_dir, options())
    run, again, _ = read_back(run_dir)
    (folder,) = run_dir.glob("wandb/offline-run-*")
    assert folder.name.endswith(tracking_id(Run.load(run_dir)))
    assert [row["_step"] for row in again] == [row["_step"] for row in once] == list(range(len(once)))
    assert run.run_id == tracking_id(Run.load(run_dir))


def test_numbers_of_a_csv_are_numbers_and_texts_are_texts():
    rows = [["5.12", "dense", "", "nan", ""], ["10", "7", "-1e-3", "inf", ""]]
    assert typed(rows) == [[5.12, "dense", None, None, ""], [10.0, "7", -0.001, None, ""]]
    assert typed([]) == []


def test_the_id_belongs_to_the_run_not_to_the_folder(run_dir, tmp_path):
    records = read_records(run_dir)
    assert tracking_id(Run(records)) == tracking_id(Run([*records, run_record(["x"], [1.0])]))
    other = run_record(CAPTIONS, [0.1])
    object.__setattr__(other, "run_id", "another")
    assert tracking_id(Run(records)) != tracking_id(Run([other]))
    assert tracking_id(Run(records)) != tracking_id(Run([run_record(CAPTIONS, [0.1], name="renamed")]))


def test_summary_leaves_out_what_is_not_a_number():
    nan = float("nan")
    records = [metric("c", "dense", 10, value=nan, low=nan, high=nan), metric("c", "dense", 10, "kl", 1.0, window=2)]
    assert summary(Run(records)) == {}


def test_history_has_one_row_per_length_and_keeps_lengths_apart():
    records = [metric("c", "dense", 1, value=0.5), metric("c", "dense", 1.5, value=0.7), metric("c", "dense", 10)]
    rows = list(history(Run(records)))
    assert [row["duration_s"] for row in rows] == [1, 1.5, 10]
    assert [row["clap/dense"] for row in rows] == [0.5, 0.7, 0.3]
    assert set(rows[0]) == {"duration_s", "clap/dense"}


def test_curves_are_those_of_the_main_table_and_the_summary_has_the_bounds_that_tables_print():
    """Every metric with bounds and differences between all pairs made 286 curves for two lengths."""
    metrics = ("fad", "kl", "clap", "fad_pooled", "kad", "level", "silence", "fad_slope", "repetition")
    records = [run_record(["a"], [10.0, 20.0])]
    for length in (10, 20):
        for name in metrics:
            records += [value(method, name, duration=length) for method in METHODS]
            pairs = [("litefocus", "dense"), ("focus_only", "dense"), ("focus_only", "litefocus")]
            records += [difference(*pair, 0.5, name=name, duration=length) for pair in pairs]
    assert {len(row) for row in history(Run(records))} == {1 + 3 * len(METHODS)}  # FAD, KL and CLAP
    numbers = summary(Run(records))
    assert numbers["fad/litefocus/10s"] == 2.0
    assert numbers["fad/litefocus/10s.low"] == pytest.approx(1.9)
    assert numbers["fad/litefocus-dense/20s.high"] == pytest.approx(0.6)
    assert not [name for name in numbers if "silence" in name or "focus_only-litefocus" in name]


def test_several_presets_keep_their_values_apart():
    records = [run_record(["a"], [10.0]), value("dense", number=3.0), value("dense", number=1.0, preset="tango")]
    numbers = summary(Run(records))
    assert (numbers["strict/fad/dense/10s"], numbers["tango/fad/dense/10s"]) == (3.0, 1.0)


def test_tracking_off_imports_nothing_and_touches_nothing(tmp_path):
    program = (
        "import sys; from pathlib import Path; from experiments.tracking.tracker import Tracker, check_tracker\n"
        "options = {'name': 'none'}; check_tracker(options)\n"
        "with Tracker(options, Path('absent')) as tracker:\n"
        "    tracker.begin([]); tracker.now('x'); tracker.clips([], 0, 0.5); tracker.results()\n"
        "print('wandb' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "mlflow"}, r"tracking.name 'mlflow': accepted are none, wandb"),
        ({"mode": "shared"}, r"tracking.mode 'shared': accepted are online, offline"),
        ({}, r"no records to track"),
    ],
)
def test_mistakes_are_said(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        track(tmp_path, options(**changes))


def test_a_missing_library_names_the_extra(run_dir, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ImportError, match=r"pip install -e '.\[wandb\]'"):
        track(run_dir, options())


class Refused(Exception):
    pass


def fake_wandb(logged_in):
    def init(**options):
        raise Refused("permission\ndenied")

    return SimpleNamespace(Error=Refused, Settings=dict, init=init, login=lambda **options: logged_in)


def test_without_a_key_online_is_refused_before_anything_is_made(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", fake_wandb(logged_in=False))
    with pytest.raises(ValueError, match=r"no W&B API key here; run wandb login, or use tracking.mode=offline"):
        check_tracker(options(mode="online"))
    check_tracker(options())
    check_tracker({"name": "none"})


def test_what_wandb_refuses_is_one_line_that_says_the_report_is_there(run_dir, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", fake_wandb(logged_in=True))
    expected = r"not tracked \(permission denied\); the report is written, stages=\[report\] tracks it"
    with pytest.raises(ConnectionError, match=expected):
        track(run_dir, options(mode="online"))
