"""Which captions a network of English texts cannot read."""

import unicodedata
from collections.abc import Sequence


def not_latin(captions: Sequence[str]) -> str:
    """A sentence on captions in another alphabet than that of English, which CLAP's text encoders were trained on."""
    other = [text for text in captions if any(c.isalpha() and "LATIN" not in unicodedata.name(c, "") for c in text)]
    if not other:
        return ""
    return (
        f"{len(other)} of {len(captions)} captions hold letters that are not Latin, first {other[0][:60]!r}: CLAP's "
        "text encoders were trained on English, so its scores of them say little."
    )
