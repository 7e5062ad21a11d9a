"""Words of a command line that name no setting or hide several: Hydra takes `+step=4`, which nothing would read."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

WORD = re.compile(r"(?P<sign>\+{1,2}|~)?(?P<key>[\w.-]+)=.*", re.DOTALL)
# Whose every key is read by name. Others take keys of a user's own: constructors' arguments, methods, arms, embedders.
CLOSED = ("", "timing", "shard", "decode_in_chunks", "metrics", "tracking")
# Beside the keys of the configuration; a wrapper's own.
KNOWN = ("vary", "app", "plan", "model")


def unknown_key(word: str, words: Sequence[str], config: DictConfig, folders: Sequence[Path]) -> str | None:
    """What is wrong with a word that names no setting, in one line; None where it names one or may.

    Args:
        words: all of the command line; a key that another word refers to, like `${mine}`, is a user's own.
        config: the program's configuration without the command line.
        folders: with the files of configuration groups, whose choice is no key.
    """
    match = WORD.fullmatch(word)
    if match is None or any((folder / match["key"]).is_dir() for folder in folders):
        return None
    parent, _, last = match["key"].rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    if parent not in CLOSED or not isinstance(node, DictConfig) or last in node or match["key"] in KNOWN:
        return None
    if any(f"${{{match['key']}}}" in other for other in words):
        return None
    names = sorted(str(key) for key in node if key != "hydra")
    near = get_close_matches(last, names, n=1, cutoff=0.6)
    node_of = f" (of this choice of {parent}=)" if parent in ("metrics", "tracking") else ""
    meant = (
        f"did you mean {'.'.join(filter(None, (parent, near[0])))}?"
        if near
        else f"there are {', '.join(names)}{node_of}"
    )
    return f"{word}: no setting is named {match['key']}; {meant}"


def check_nested(config: DictConfig, plain: DictConfig) -> None:
    """Raise ValueError for a single value in place of settings of their own, such as shard=1.

    Args:
        plain: the same program's configuration without the command line.
    """
    places = [str(key) for key in plain if isinstance(plain.get(key), DictConfig)]
    for place in [*places, "timing.arms", "metrics.weights", "metrics.embedders", "metrics.margins"]:
        was, now = OmegaConf.select(plain, place), OmegaConf.select(config, place)
        if isinstance(was, DictConfig) and now is not None and not isinstance(now, DictConfig):
            raise ValueError(f"{place}={now!s}: it holds settings of its own; set one of them, {place}.KEY=VALUE")
