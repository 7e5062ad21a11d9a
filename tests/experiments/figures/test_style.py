"""No two looks are the same: a reader tells any ten methods of a figure apart, those with a fixed look included."""

import matplotlib.pyplot as plt
import pytest
from hydra import compose, initialize_config_dir

from experiments.figures.style import SPARE_COLOURS, STYLES, length_axis, style_of, titled
from experiments.system.cli import CONF_DIR


def test_methods_without_a_look_get_colours_that_no_other_has_and_looks_that_last():
    names = ["dense", *(f"method {i}" for i in range(40))]
    looks = [style_of(name, names) for name in names]
    assert len(set(looks)) == len(looks)
    assert len({colour for colour, _ in looks[:15]}) == 15
    assert not set(SPARE_COLOURS) & {colour for colour, _ in STYLES.values()}


@pytest.mark.parametrize("sweep", ["sparsity", "levers", "durations", "testbed"])
def test_every_arm_of_a_sweep_has_a_colour_of_its_own(sweep):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        config = compose("config", overrides=[f"+sweep={sweep}"])
    names = [node.name for node in (*config.methods.values(), *config.timing.arms.values())]
    assert len({style_of(name, names)[0] for name in names}) == len(names) > 5


def test_every_arm_of_a_probe_has_a_colour_of_its_own():
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        config = compose("probe")
    names = [*(node.name for node in config.methods.values()), "litefocus_linear"]
    assert len({style_of(name, names)[0] for name in names}) == len(names) > 4


@pytest.mark.parametrize("lengths", [[5.12, 10.24, 20.48, 40.96], [10.0], [10.0, 20.0]])
def test_no_mark_is_cut_off_at_an_end_of_the_axis_of_lengths(lengths):
    figure, ax = plt.subplots()
    shifted = [lengths[0] * 0.9, *lengths[1:-1], lengths[-1] * 1.1]  # arms stand side by side
    (line,) = ax.plot(shifted, [1.0] * len(shifted), marker="o", ms=6)
    length_axis([*lengths, lengths[-1]], ax)
    figure.canvas.draw()
    left, right = ax.get_window_extent().intervalx
    across = ax.transData.transform([(x, 1.0) for x in shifted])[:, 0]
    radius = line.get_markersize() / 2 * figure.dpi / 72
    assert left + radius < min(across) <= max(across) < right - radius
    assert [text.get_text() for text in ax.get_xticklabels()] == [f"{length:g}" for length in lengths]
    plt.close(figure)


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
