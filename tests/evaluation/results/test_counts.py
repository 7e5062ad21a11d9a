"""N scored, N failed and N of references: they add up in every line, and a failed clip leaves both sides."""

import pytest
from networks import BandEmbedder, noise_clip, write_folder

from evaluation.evaluate import evaluate
from evaluation.files.pairing import Clip
from evaluation.results.result import MetricResult
from evaluation.results.table import WIDTH, failures_by_reason, line
from evaluation.run.scorer import make_scorer, score_folder
from evaluation.scoring.intervals import compare

NAMES = tuple(f"p{i:02}" for i in range(12))
CAPTIONS = {name: f"caption {name}" for name in NAMES}
METRICS = ("fad", "fd", "kad", "kl", "clap", "level")


def judges():
    return dict.fromkeys(("frames", "classifier", "text"), BandEmbedder())


def run(reference, generated, **options):
    options = {"preset": "testbed", "embedders": judges(), "window_s": 1.0, "cache_dir": None, **options}
    return evaluate(reference, generated, CAPTIONS, **{"metrics": METRICS, **options})


@pytest.fixture
def root(tmp_path):
    write_folder(tmp_path / "ref", {n: noise_clip(i, 1, colour=i / 13) for i, n in enumerate(NAMES)})
    write_folder(tmp_path / "gen", {n: noise_clip(50 + i, 2, colour=i / 13) for i, n in enumerate(NAMES)})
    return tmp_path


def spoil(root, kind):
    """Four clips that cannot be scored, by one of the ways there are."""
    for number, name in enumerate(NAMES[:4]):
        if kind == "broken":
            (root / "gen" / f"{name}.wav").write_bytes(b"broken")
        elif kind == "short":
            write_folder(root / "gen", {name: noise_clip(number, 0.5)})
        elif kind == "missing":
            (root / "gen" / f"{name}.wav").unlink()
        elif kind == "no reference":
            (root / "ref" / f"{name}.wav").unlink()
        else:
            (root / "ref" / f"{name}.wav").write_bytes(b"broken")


@pytest.mark.parametrize("kind", ["broken", "short", "missing", "no reference", "broken reference"])
def test_whatever_is_wrong_with_a_clip_it_leaves_both_sides_and_is_counted(root, kind, caplog):
    spoil(root, kind)
    found = run(root / "ref", root / "gen", strict=False)
    assert {(row.n_scored, row.n_failed) for row in (*found.results, *found.floors)} == {(8, 4)}
    references = {row.n_references for row in found.results if row.metric in ("fad", "fd", "kad", "kl")}
    assert references == {8}
    assert len(found.failures) == 4
    for name in NAMES[:4]:
        for side in ("ref", "gen"):
            (root / side / f"{name}.wav").unlink(missing_ok=True)
    rest = run(root / "ref", root / "gen", strict=False)
    assert rest.failures == {}
    for metric in METRICS:
        assert found.value(metric) == pytest.approx(rest.value(metric), rel=1e-12), metric
    values = [{row.metric: row.value for row in one.floors} for one in (found, rest)]
    assert values[0] == pytest.approx(values[1], rel=1e-12)
    assert "4 of 12 clips failed (33%)" in caplog.text
    assert "warning: 4 of 12 clips failed (33%)" in found.table()


def test_two_folders_are_compared_against_the_references_of_their_common_clips(root):
    write_folder(root / "other", {n: noise_clip(90 + i, 2, colour=0.5) for i, n in enumerate(NAMES)})
    (root / "other" / "p03.wav").write_bytes(b"broken")
    scorer = make_scorer("testbed", metrics=("fad", "kad"), embedders=judges(), window_s=1.0, cache_dir=None)
    references = {n: root / "ref" / f"{n}.wav" for n in NAMES}

    def score(folder, names=NAMES):
        clips = [Clip(n, root / folder / f"{n}.wav", n) for n in names]
        return score_folder(scorer, folder, clips, references)

    differences = {r.metric: r for r in compare(score("gen"), score("other")) if r.window == -1}
    common = [n for n in NAMES if n != "p03"]
    alone = [{r.metric: r.value for r in score(f, common).results if r.window == -1} for f in ("gen", "other")]
    for metric in ("fad", "kad"):
        row = differences[metric]
        assert row.value == pytest.approx(alone[1][metric] - alone[0][metric], rel=1e-9)
        assert (row.n_scored, row.n_failed, row.n_references) == (11, 1, 11)


def test_five_in_a_hundred_are_no_warning(root, caplog):
    assert "warning" not in run(root / "ref", root / "gen").table()
    assert "failed" not in caplog.text


def test_the_table_fits_a_terminal(root):
    spoil(root, "short")
    found = run(root / "ref", root / "gen", metrics=None, baseline=root / "gen", strict=False)
    lines = found.table().splitlines()
    assert max(len(text) for text in lines if str(root) not in text) <= WIDTH
    assert any(text.split()[:2] == ["kl_bernoulli_shuffled_references", "↓"] for text in lines)


def test_the_tables_arrows_point_to_better():
    lines = [
        line(MetricResult(name, "strict", 1.5, 1.0, 2.0, 40, 1, higher_is_better=better, n_references=refs))
        for name, better, refs in (("fad", False, 10), ("clap", True, None), ("level", None, None))
    ]
    assert lines[0].split() == ["fad", "↓", "1.5", "[1,", "2]", "40", "1", "10"]
    assert lines[1].split() == ["clap", "↑", "1.5", "[1,", "2]", "40", "1"]
    assert lines[2].split()[:2] == ["level", "1.5"]


def test_failures_are_summed_by_reason_with_the_first_ten_paths():
    short = {f"c{i:03}": f"/a: b/c{i:03}.wav: lasts 0.{i:03} s; a window takes 10 s" for i in range(124)}
    lines = failures_by_reason({**short, "d": "no reference", "e": "reference /r/e.flac: holds no samples"})
    assert lines[0] == "failed: 124: lasts 0.000 s; a window takes 10 s"
    assert lines[1:11] == [f"  /a: b/c{i:03}.wav" for i in range(10)]
    assert lines[11:] == [
        "  and 114 more", "failed: 1: no reference", "  d", "failed: 1: holds no samples", "  reference /r/e.flac",
    ]  # fmt: skip
