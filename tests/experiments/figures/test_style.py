"""No two looks are the same: a reader tells any ten methods of a figure apart, those with a fixed look included."""

import matplotlib.pyplot as plt
import pytest

from experiments.figures.style import SPARE_STYLES, STYLES, style_of, titled


def test_ten_methods_without_a_look_get_ten_that_no_other_has():
    names = [f"method {i}" for i in range(10)]
    looks = [style_of(name, names) for name in names]
    assert len(set(looks)) == len(looks)
    assert not set(SPARE_STYLES) & set(STYLES.values())


@pytest.mark.parametrize("lines", [1, 2, 4])
def test_a_title_stands_above_the_lines_under_it(lines):
    figure, ax = plt.subplots()
    titled(ax, "Time per denoising step", "\n".join(["testbed, two threads, float32"] * lines))
    renderer = figure.canvas.get_renderer()
    # The title ends in empty lines, so its first line is the highest part of its box.
    height = ax.title.get_fontsize() * figure.dpi / 72
    box = next(text for text in ax.get_children() if getattr(text, "get_text", str)().startswith("Time per"))
    assert box.get_window_extent(renderer).y1 - height >= ax.texts[0].get_window_extent(renderer).y1
    plt.close(figure)
