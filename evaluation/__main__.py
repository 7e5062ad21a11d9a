"""``python -m evaluation reference=DIR generated=DIR captions=FILE [key=value ...]``: score a folder of audio.

reference=DIR          reference audio; leave out where no metric needs it
generated=DIR          audio to score, named like the references
captions=FILE          csv, tsv or jsonl with an id (or file) and a caption; Clotho's, MusicCaps' and AudioCaps' too
several_captions=max   a clip has several captions: max, mean or first is its CLAP
preset=NAME            strict (default), published, audioldm, audioldm2, tango, stable-audio, litefocus, testbed
metrics=fad,kl,clap    instead of the preset's own
extra=my.module        modules with metrics of your own (docs/extending.md)
baseline=DIR           another generated folder with the same names: adds paired differences against it
agreement=DIR          instead of all else: how alike the metrics of the records in DIR (from out=) rank the methods
votes=FILE|DIR         instead of all else: win rates from votes that the listening page saved; may be given repeatedly
scores=FILE            with votes=: how often each metric of listen_scores.csv agrees with them
out=DIR                writes a json and a csv there, named after the generated folder's path; overwrites nothing
config=FILE            .yaml with any of these keys; embedders.<role> and labels (for the hit rate) as _target_ entries
weights.vggish=PATH    also cnn14_16k, cnn14_32k, ast, passt, clap, clap_music_speech, tokenizer, ms_clap, gpt2,
                       aesthetics; sha256:HEX fetches
window_s=10            window length: the generator's training length
duration_s=T           trim generated clips to exactly T seconds
aligned_references=true  references are as long as the clips: compare window by window
id_pattern=REGEX       one group takes the prompt's id out of a generated name: '(.*)_[0-9]+'
paired=false           references are one background set, not a clip's own: FAD, FD, KAD of two sets
strict=false           score the common clips where names do not match, instead of stopping
floors=false           leave out the floors
cache_dir=DIR|null     embeddings on disk      seed=0      device=cpu      batch_size=8      half=false
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from evaluation.files.pipe import until_the_reader_leaves

USAGE_ERROR = 2
_FOLDERS = ("reference", "generated", "captions", "baseline")
_OPTIONS = (
    "preset", "metrics", "extra", "weights", "embedders", "labels", "window_s", "duration_s", "aligned_references",
    "id_pattern", "strict", "paired", "several_captions", "floors", "cache_dir", "seed", "device", "batch_size", "half",
)  # fmt: skip
_PATHS = (*_FOLDERS, "out", "config", "cache_dir")
_ACCEPTED = (*_FOLDERS, *_OPTIONS, "out", "config")
_OF_OTHERS = ("margins", "keep_embeddings")  # keys of conf/metrics for tables and run folders


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 2 with one line on stderr for an error in the input."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(__doc__)
        return 0 if words else USAGE_ERROR
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        print(_answer(words))
    except BrokenPipeError:
        raise
    except (ValueError, TypeError, OSError, ImportError, HydraException, OmegaConfBaseException) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return USAGE_ERROR
    return 0


def _answer(words: Sequence[str]) -> str:
    if empty := [word for word in words if word.partition("=")[1:] == ("=", "")]:
        # As "$NAME" of a variable that is not set: a path would be the working directory, a number the preset's own.
        raise ValueError(f"{empty[0]} is empty; give a value, or leave the key out")
    keys = {word.partition("=")[0] for word in words}
    if "agreement" in keys:
        return _agreement(words)
    return _votes(words) if "votes" in keys else _run(parse(words))


def parse(words: Sequence[str]) -> DictConfig:
    """Configuration from key=value words over the file named by ``config``.

    Raises:
        ValueError: a word that is not key=value, an unknown key, no generated folder, or a config that is no yaml.
        FileNotFoundError: the config file does not exist.
    """
    if bad := [word for word in words if "=" not in word]:
        raise ValueError(f"{bad[0]!r} is not key=value; keys are {', '.join(_ACCEPTED)}")
    given = _given(words)
    base = _load(Path(given.config).expanduser()) if "config" in given else OmegaConf.create()
    for key in _OF_OTHERS:
        base.pop(key, None)
    merged = OmegaConf.merge(base, given)
    assert isinstance(merged, DictConfig)
    if unknown := sorted({str(key) for key in merged} - set(_ACCEPTED)):
        raise ValueError(f"unknown key {unknown[0]!r}; keys are {', '.join(_ACCEPTED)}")
    if merged.get("generated") is None:
        raise ValueError("generated=DIR is missing; say which folder to score")
    return merged


def _given(words: Sequence[str]) -> DictConfig:
    """The words as configuration. What names a file, a device or a pattern is text, whatever yaml would make of it."""
    texts = {key: text for key, _, text in (word.partition("=") for word in words) if _is_text(key)}
    given = OmegaConf.from_dotlist([word for word in words if not _is_text(word.partition("=")[0])])
    for key, text in texts.items():
        # OmegaConf takes a dollar and a brace for a reference to another key.
        OmegaConf.update(given, key, None if key == "cache_dir" and text == "null" else text.replace("${", "\\${"))
    return given


def _is_text(key: str) -> bool:
    return key in (*_PATHS, "preset", "id_pattern", "device", "several_captions") or key.startswith("weights.")


def _load(path: Path) -> DictConfig:
    """A yaml file with its defaults list, such as the ones in conf/metrics."""
    from hydra import compose, initialize_config_dir

    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such config file")
    if path.suffix != ".yaml":
        raise ValueError(f"{path}: a config file ends in .yaml; rename it")  # Hydra would take the .yaml beside it.
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(path.resolve().parent)):
            config = compose(config_name=path.stem)
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: no yaml ({error})") from error
    OmegaConf.set_struct(config, False)
    return config


def _path_of(key: str, value: Any) -> Any:
    """The path under a key, from the command line or a yaml file, with ~ as the home folder; None where there is none.

    Raises:
        ValueError: it is empty, or no text: yaml makes 8 of 010.
    """
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key}: {value!r} is no path; give one as text, in quotes where it is a number, or none")
    return os.path.expanduser(value)


def options_of(config: DictConfig) -> dict[str, Any]:
    """Keyword arguments of ``evaluate`` out of a configuration: lists split, embedders and labels instantiated."""
    from hydra.utils import instantiate

    from evaluation.run.options import check_options

    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    options = {str(key): value for key, value in plain.items() if key in _OPTIONS}
    for key in ("metrics", "extra"):
        if isinstance(options.get(key), str):
            options[key] = [name.strip() for name in options[key].split(",")]
    if "cache_dir" in options:
        options["cache_dir"] = _path_of("cache_dir", options["cache_dir"])
    check_options(options)
    if options.get("weights"):
        options["weights"] = {name: _path_of(f"weights.{name}", path) for name, path in options["weights"].items()}
    if options.get("embedders"):
        options["embedders"] = {role: instantiate(entry) for role, entry in options["embedders"].items()}
    if options.get("labels"):
        options["labels"] = instantiate(options["labels"])
    return options


def _agreement(words: Sequence[str]) -> str:
    from evaluation.results.agreement import agreement_of_records, agreement_table

    if len(words) > 1:
        other = next((word for word in words if not word.startswith("agreement=")), words[1])
        raise ValueError(f"{other!r} beside agreement=DIR; it takes nothing else")
    folder = Path(words[0].partition("=")[2]).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of records; out=DIR writes them")
    return agreement_table(agreement_of_records(sorted(folder.glob("*.json"))))


def _votes(words: Sequence[str]) -> str:
    from evaluation.listening.report import votes_report
    from evaluation.listening.scores import read_scores
    from evaluation.listening.votes import read_votes

    given: dict[str, list[Path]] = {"votes": [], "scores": []}
    for word in words:
        key, _, text = word.partition("=")
        if key not in given or not text:
            raise ValueError(f"{word!r} beside votes=FILE; it takes votes=FILE or DIR, repeatedly, and scores=FILE")
        given[key].append(Path(text).expanduser())
    if len(given["scores"]) > 1:
        raise ValueError(f"scores={given['scores'][1]}: a second file of scores; give one")
    scores = read_scores(given["scores"][0]) if given["scores"] else None
    return votes_report(read_votes(given["votes"]), scores)


def _run(config: DictConfig) -> str:
    from evaluation.evaluate import evaluate
    from evaluation.results.result import check_writable

    paths = {key: _path_of(key, config.get(key)) for key in _FOLDERS}
    out, options = _path_of("out", config.get("out")), options_of(config)
    if out is not None:
        check_writable(Path(out))
    result = evaluate(**paths, **options)
    if out is None:
        return result.table()
    print(result.table(), flush=True)  # first: whatever keeps the files from being written, the numbers are there
    return "written: " + ", ".join(str(path) for path in result.write(Path(out)))


if __name__ == "__main__":
    with until_the_reader_leaves():
        sys.exit(main())
