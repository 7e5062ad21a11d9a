"""What tests of several tables share."""

import pytest

from evaluation.results.interval_floors import FEWEST, Floor


def _two_clips_do():
    with pytest.MonkeyPatch.context() as patch:
        for kind in FEWEST:
            patch.setitem(FEWEST, kind, Floor(2, 2))
        yield


# For tests that ask other things than how many clips an interval takes: two do.
intervals_of_few_clips = pytest.fixture(_two_clips_do)
module_with_intervals_of_few_clips = pytest.fixture(scope="module")(_two_clips_do)
