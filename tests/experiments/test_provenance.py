"""Every start behind a table is named: its commit, its machine, and nothing of starts that made none of it."""

from dataclasses import replace

from listen_material import run_record, timing

from experiments.provenance import provenance, starts_of


def start(run_id, commit, threads, started_at):
    record = run_record(["a"], [10.0])
    environment = {**record.environment, "commit": commit, "dirty": False, "threads": threads}
    return replace(record, run_id=run_id, environment=environment, started_at=started_at)


FIRST, SECOND = start("r1", "a" * 40, 1, "Monday"), start("r2", "b" * 40, 2, "Tuesday")


def test_one_start_is_named_once():
    line = provenance([FIRST, FIRST])
    assert ", commit aaaaaaaaaaaa, started Monday." in line
    assert "(1 thread)" in line


def test_two_starts_are_both_named():
    line = provenance([FIRST, SECOND])
    assert ", commits aaaaaaaaaaaa, bbbbbbbbbbbb, started Monday to Tuesday." in line
    assert "(1 thread)" in line
    assert "(2 threads)" in line


def test_a_start_that_made_none_of_the_numbers_is_left_out():
    made = replace(timing(dense=[1.0]), run_id="r2")
    assert starts_of([made], [FIRST, SECOND]) == [SECOND]
