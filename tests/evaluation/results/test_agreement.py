"""Agreement of metrics over methods: by hand, and from the records of real runs."""

import json
import math

import numpy as np
import pytest
from networks import BandEmbedder, noise_clip, write_folder

from evaluation.__main__ import main
from evaluation.evaluate import evaluate
from evaluation.results.agreement import agreement_of_records, rank_agreement

VALUES = {
    "fad": {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0},
    "kad": {"a": 10.0, "b": 30.0, "c": 20.0, "d": 40.0},
    "clap": {"a": 0.4, "b": 0.3, "c": 0.2, "d": 0.1, "e": 0.9},
}
DIRECTIONS = {"fad": False, "kad": False, "clap": True}


def test_rank_correlations_by_hand_and_directions():
    found = {(row.first, row.second): row for row in rank_agreement(VALUES, DIRECTIONS)}
    assert found["fad", "clap"][2:] == (pytest.approx(1), pytest.approx(1), 4), "lower FAD and higher CLAP agree"
    # One of six pairs is swapped; squared rank differences add up to 2: 1 - 6 * 2 / (4 * 15).
    assert found["fad", "kad"][2:4] == (pytest.approx(0.8), pytest.approx(4 / 6))
    assert found["kad", "clap"].spearman == pytest.approx(0.8)
    flat = rank_agreement({**VALUES, "is": dict.fromkeys("abcd", 1.0)}, DIRECTIONS)
    assert math.isnan(next(row for row in flat if row.second == "is").kendall)


def test_too_little_to_rank_is_refused():
    with pytest.raises(ValueError, match="between metrics; got fad: compute at least two"):
        rank_agreement({"fad": VALUES["fad"]}, DIRECTIONS)
    with pytest.raises(ValueError, match="fad and kad share 2 methods; a ranking takes at least 3"):
        rank_agreement({"fad": VALUES["fad"], "kad": {"a": 1.0, "b": 2.0}}, DIRECTIONS)


@pytest.fixture
def records(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "ref", {f"c{i}": noise_clip(i, 1, colour=i / 40) for i in range(8)})
    ears = {"classifier": BandEmbedder(), "ears": BandEmbedder("2")}
    for number, colour in enumerate((0.2, 0.5, 0.9)):
        clips = {f"c{i}": noise_clip(20 + i, 1, colour=colour) for i in range(8)}
        write_folder(tmp_path / f"m{number}", clips)
        options = {"preset": "testbed", "metrics": ("kad", "kad_on_ears", "level"), "embedders": ears}
        found = evaluate("ref", f"m{number}", window_s=1.0, cache_dir=None, **options)
        found.write(tmp_path / "out")
    return tmp_path / "out"


def test_the_command_line_ranks_the_methods_of_a_folder_of_records(records, capsys):
    assert main([f"agreement={records}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["kad,", "kad_on_ears", "1.00", "1.00", "3"]
    assert len(lines) == 2, "level has no direction"
    assert max(map(len, lines)) <= 80
    assert main([f"agreement={records / 'none'}"]) == 2
    assert main([f"agreement={records}", "seed=1"]) == 2


def test_records_that_are_none_twice_there_or_of_other_protocols_are_refused(records):
    paths = sorted(records.glob("*.json"))
    again = records / "again.json"
    again.write_text(paths[0].read_text())
    with pytest.raises(ValueError, match=r"again\.json and .*m0\.json are both of"):
        agreement_of_records([*paths, again])
    record = json.loads(paths[0].read_text())
    record["folders"]["generated"] = "/elsewhere"
    record["provenance"]["preset_version"] = 2
    again.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"again\.json differ in preset_version"):
        agreement_of_records([*paths, again])
    rows = json.loads(paths[0].read_text())["results"]
    wrong = [[1, 2], {"a": 1}, 3, [{**rows[0], "metric": 3}], [{**rows[0], "value": "1"}]]
    wrong += [[{name: value for name, value in rows[0].items() if name != lost}] for lost in ("window", "value")]
    for results in wrong:
        again.write_text(json.dumps({**json.loads(paths[0].read_text()), "results": results}))
        with pytest.raises(ValueError, match=r"again\.json: no record of"):
            agreement_of_records([again])
    for content in ("", "[]", '{"results": []}', "[" * 100_000, '{"results": [], "provenance": {}, "folders": null}'):
        again.write_text(content)
        with pytest.raises(ValueError, match=r"again\.json: no record of"):
            agreement_of_records([again])
    assert np.isfinite([row.spearman for row in agreement_of_records(paths)]).all()
