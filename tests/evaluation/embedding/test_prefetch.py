"""Work ahead: in order, bounded, and an error in its turn."""

import threading

import pytest

from evaluation.embedding.prefetch import prefetched


def test_results_come_in_order_from_other_threads():
    names = []

    def square(number):
        names.append(threading.current_thread().name)
        return number**2

    assert list(prefetched(square, range(50))) == [number**2 for number in range(50)]
    assert threading.current_thread().name not in names
    assert list(prefetched(square, [])) == []


def test_it_stays_a_bounded_number_of_items_ahead():
    started = []
    results = prefetched(started.append, range(100))
    for taken in range(1, 60):
        next(results)
        assert len(started) <= taken + 8
    results.close()
    assert len(started) <= 59 + 8


def test_an_error_is_raised_in_its_turn_and_ends_the_work():
    started = []

    def fail_at_three(number):
        started.append(number)
        if number == 3:
            raise ValueError("three")
        return number

    results = prefetched(fail_at_three, range(1000))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert len(started) < 20
