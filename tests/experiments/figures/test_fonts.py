"""Characters that the default font lacks are drawn by one that is there, or counted in words; never silent boxes."""

import warnings

import matplotlib.pyplot as plt
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from experiments.figures import fonts
from experiments.figures.style import save

CAPTION = "“犬が吠える”, a dog"


def font_file(path, characters):
    """A font whose glyphs are all the same wide block."""
    pen = TTGlyphPen(None)
    pen.moveTo((50, 0))
    for corner in ((50, 700), (900, 700), (900, 0)):
        pen.lineTo(corner)
    pen.closePath()
    names = {ord(c): f"u{ord(c):04X}" for c in characters}
    glyphs = [".notdef", *names.values()]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(glyphs)
    builder.setupCharacterMap(names)
    builder.setupGlyf(dict.fromkeys(glyphs, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 50)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": f"Blocks {path.stem}", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return str(path)


@pytest.fixture
def figure():
    fonts.fonts_for.cache_clear()
    made = plt.figure()
    made.text(0, 0.5, CAPTION)
    yield made
    fonts.fonts_for.cache_clear()


def write(figure, folder):
    """The caption as each format was drawn with; a glyph that no font has would be a warning."""
    drawn = []
    original = figure.savefig

    def watched(*args, format, **kwargs):
        drawn.append((format, figure.texts[0].get_text()))
        with warnings.catch_warnings():
            if format != "svg":
                warnings.filterwarnings("error", "Glyph .* missing")
            original(*args, format=format, **kwargs)

    figure.savefig = watched
    save(figure, folder / "f")
    return dict(drawn)


def test_a_font_that_is_there_shows_what_the_default_one_lacks(figure, tmp_path, monkeypatch, caplog):
    whole, part = font_file(tmp_path / "whole.ttf", "犬が吠える"), font_file(tmp_path / "part.ttf", "犬")
    monkeypatch.setattr(fonts.font_manager, "findSystemFonts", lambda: [part, whole])
    assert write(figure, tmp_path) == dict.fromkeys(("svg", "png", "pdf"), CAPTION)
    assert figure.texts[0].get_fontfamily()[-1] == "Blocks whole"
    assert caplog.text == ""
    assert CAPTION in (tmp_path / "f.svg").read_text(encoding="utf-8")


def test_two_fonts_that_each_show_a_part_are_both_taken(tmp_path, monkeypatch):
    fonts.fonts_for.cache_clear()
    paths = [font_file(tmp_path / "one.ttf", "犬が"), font_file(tmp_path / "two.ttf", "吠える")]
    monkeypatch.setattr(fonts.font_manager, "findSystemFonts", lambda: paths)
    assert fonts.fonts_for(frozenset("犬が吠える!")) == (["Blocks two", "Blocks one"], frozenset("!"))
    fonts.fonts_for.cache_clear()


def test_what_no_font_shows_is_counted_and_said_in_one_line(figure, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(fonts.font_manager, "findSystemFonts", lambda: [])
    counted = "“[5 characters without a font]”, a dog"
    assert write(figure, tmp_path) == {"svg": CAPTION, "png": counted, "pdf": counted}
    (record,) = caplog.records
    assert "no font here shows えがる吠犬 in figures; install one" in record.getMessage()
    assert figure.texts[0].get_text() == CAPTION


def test_latin_text_looks_for_no_font(tmp_path, monkeypatch):
    monkeypatch.setattr(fonts.font_manager, "findSystemFonts", lambda: pytest.fail("looked for fonts"))
    made = plt.figure()
    made.text(0, 0.5, "naïve Łódź – α ↓ Δ")
    assert len(save(made, tmp_path / "f")) == 3
