"""No two looks are the same: a reader tells any ten methods of a figure apart, those with a fixed look included."""

from experiments.figures.style import SPARE_STYLES, STYLES, style_of


def test_ten_methods_without_a_look_get_ten_that_no_other_has():
    names = [f"method {i}" for i in range(10)]
    looks = [style_of(name, names) for name in names]
    assert len(set(looks)) == len(looks)
    assert not set(SPARE_STYLES) & set(STYLES.values())
