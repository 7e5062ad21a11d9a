"""Tables inside documents: written from records, found when stale."""

import pytest
from quality_material import DENSE, THREE, clips_behind, value

from experiments.readme import fill_blocks, stale_blocks
from experiments.records import append_record
from experiments.tables.quality_tables import write_tables
from experiments.tables.run_tables import tables_of


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results" / "demo"
    folder.mkdir(parents=True)
    for record in [*THREE, *clips_behind(*THREE[1:])]:
        append_record(folder, record)
    return tmp_path / "results"


DOCUMENT = "before\n<!-- results:demo/quality -->\nold\n<!-- /results:demo/quality -->\nafter\n"


def test_blocks_are_written_from_records_and_a_stale_one_is_found(results):
    assert stale_blocks(DOCUMENT, results) == ["demo/quality"]
    filled = fill_blocks(DOCUMENT, results)
    assert filled.startswith("before\n<!-- results:demo/quality -->\n**Quality, preset strict**")
    assert filled.endswith("<!-- /results:demo/quality -->\nafter\n")
    assert stale_blocks(filled, results) == []
    assert fill_blocks(filled, results) == filled
    append_record(results / "demo", value(DENSE, number=8.0))
    assert stale_blocks(filled, results) == ["demo/quality"]


def test_a_block_without_its_end_or_its_table_is_an_error(results):
    with pytest.raises(ValueError, match="marker is not closed"):
        fill_blocks("<!-- results:demo/quality -->\nold\n", results)
    with pytest.raises(ValueError, match="no table 'nothing' in the records .*; there are: quality"):
        fill_blocks(DOCUMENT.replace("quality", "nothing"), results)
    with pytest.raises(FileNotFoundError, match="no run folder at .*absent"):
        fill_blocks(DOCUMENT.replace("demo", "absent"), results)
    (results / "absent").mkdir()
    with pytest.raises(ValueError, match="no records"):
        fill_blocks(DOCUMENT.replace("demo", "absent"), results)


def test_tables_are_written_in_three_formats_and_byte_stable(results, tmp_path):
    tables = list(tables_of(results / "demo").values())
    written = write_tables(tables, tmp_path / "out")
    names = [path.name for path in written]
    assert names == [f"{name}.{end}" for name in ("quality", "all_metrics") for end in ("md", "csv", "tex")]
    first = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in write_tables(tables, tmp_path / "out")] == first
