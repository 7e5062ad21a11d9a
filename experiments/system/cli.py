"""What the command lines share: one-line errors with exit code 2."""

import io
import logging
import os
import re
import sys
import warnings
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from evaluation.files.pipe import until_the_reader_leaves

logger = logging.getLogger(__name__)

CONF_DIR = Path(__file__).resolve().parents[2] / "conf"
USAGE_ERROR = 2
WORD = re.compile(r"(?P<sign>\+{1,2}|~)?(?P<key>[\w.-]+)=.*", re.DOTALL)
# Whose every key is read by name. Others take keys of a user's own: constructors' arguments, methods, arms, embedders.
CLOSED = ("", "timing", "shard", "decode_in_chunks", "metrics", "tracking")
# Beside the keys of the configuration; a wrapper's own.
KNOWN = ("vary", "app", "plan", "model")
# ImportError: an extra that is not installed. FloatingPointError: a precision that the model cannot take.
USER_ERRORS = (
    *(ValueError, TypeError, OSError, ImportError, FloatingPointError),
    *(HydraException, OmegaConfBaseException),
)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an error about input into one line on stderr and exit code 2; the traceback goes to the run's log."""
    try:
        with until_the_reader_leaves():
            yield
    except KeyboardInterrupt:
        warnings.simplefilter("ignore")  # a patch between being made and being entered would call that a mistake
        fail("interrupted; finished clips are kept, the same command resumes", 130)
    except SystemExit as stop:
        if isinstance(stop.code, str):  # a message; Python's own exit code for one is 1
            fail(stop.code, USAGE_ERROR)
        raise
    except USER_ERRORS as error:
        logger.debug("the full error", exc_info=True)
        if os.environ.get("LITEFOCUS_TRACEBACK"):
            raise
        fail(describe_error(error), USAGE_ERROR)


def one_folder(arguments: Sequence[str], example: str, help_text: str | None = None) -> Path:
    """The run folder that a command line names.

    Raises:
        ValueError: none or several.
        SystemExit: after printing the help that was asked for.
    """
    print_help_if_asked(arguments, help_text)
    if len(arguments) != 1:
        raise ValueError(f"got {len(arguments)} arguments; give one run folder, like {example}")
    return Path(arguments[0])


def print_help_if_asked(words: Sequence[str], help_text: str | None, config_name: str | None = None) -> None:
    """-h or --help among the words prints what the program does and ends it.

    Args:
        config_name: of conf/, for a program that takes Hydra's overrides: the file explains its options.
    """
    if not {"-h", "--help"} & set(words):
        return
    print((help_text or "").strip())
    if config_name is not None:
        options = (CONF_DIR / f"{config_name}.yaml").read_text(encoding="utf-8").partition("\nhydra:\n")[0]
        groups = sorted(folder.name for folder in CONF_DIR.iterdir() if folder.is_dir() and folder.name != "hydra")
        print(f"\nKEY=VALUE sets a key of conf/{config_name}.yaml, GROUP=NAME takes the file conf/GROUP/NAME.yaml")
        print(f"({', '.join(groups)}; +GROUP=NAME where the list of defaults has none yet).\n\n{options.strip()}")
    sys.exit(0)


def describe_error(error: BaseException) -> str:
    """One line for an error. Hydra's own wrapper around a constructor's error is left out."""
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        error = error.__cause__
    # Where Hydra searched is folders of this machine; a name that is missing is said before it.
    text = " ".join(str(error).partition("Config search path:")[0].split())
    return text or type(error).__name__


def fail(message: str, code: int) -> NoReturn:
    """Print one line to stderr and leave with an exit code."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


def read_words(words: Sequence[str]) -> Namespace:
    """Hydra's reading of a command line: its flags and the overrides.

    Raises:
        ValueError: a flag that Hydra lacks, one without its value, or overrides on both sides of one.
    """
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return get_args_parser().parse_args(list(words))
    except SystemExit as stop:
        if not stop.code:
            raise
        reason = said.getvalue().strip().rpartition("error: ")[2]
        raise ValueError(f"{reason}; write KEY=VALUE words first, then Hydra's flags; --help explains both") from None


def print_what_was_asked(words: Sequence[str], config_name: str, help_text: str | None) -> None:
    """For commands that compose by themselves: Hydra's --help and --cfg job print and end the program.

    Raises:
        ValueError: another of Hydra's flags, which these commands do not have.
    """
    print_help_if_asked(words, help_text, config_name)
    parsed = read_words(words)
    if parsed.cfg and parsed.cfg != "job":
        raise ValueError(f"got --cfg {parsed.cfg}; this command shows its own configuration, --cfg job")
    if parsed.cfg:
        config = check_overrides(_without_cfg(words), config_name)
        assert config is not None
        print(OmegaConf.to_yaml(config, resolve=parsed.resolve), end="")
        sys.exit(0)
    if parsed.info or parsed.hydra_help or parsed.shell_completion:
        raise ValueError("got a flag of Hydra that this command lacks; experiments.run takes them all")


def _without_cfg(words: Sequence[str]) -> list[str]:
    """The words without --cfg, its value and --resolve."""
    kept, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif word in ("--cfg", "-c"):
            skip = True
        elif not word.startswith(("--cfg=", "--resolve")):
            kept.append(word)
    return kept


METHOD_LIST = re.compile(r"(?P<place>method|\+method@[\w.-]+)=\[(?P<names>[\w.-]+(, *[\w.-]+)*)\]")


def with_method_lists(words: Sequence[str]) -> list[str]:
    """Words in which a list of methods, `method=[optimized,litefocus]`, is spelt out as one method made of them.

    Hydra would merge the files of a list into one method that is none of them.

    Raises:
        ValueError: a method twice, or a list among other choices.
    """
    found: list[str] = []
    for word in words:
        match = METHOD_LIST.fullmatch(word)
        if match is None:
            if re.match(r"\+?method(@[\w.-]+)?=.*\[", word):
                raise ValueError(
                    f"got {word!r}; a list of methods is method=[optimized,litefocus], names and nothing else"
                )
            found.append(word)
            continue
        names = [name.strip() for name in match["names"].split(",")]
        if len(set(names)) < len(names):
            raise ValueError(f"got {word!r}; give each method once")
        _, _, place = match["place"].partition("@")
        found += [] if place else ["~method"]
        found += [f"+method@{place or 'method'}.of.{name}={name}" for name in names]
        found.append(f"+{place or 'method'}.name={place.rpartition('.')[2] or '-'.join(names)}")
    return found


def check_overrides(arguments: Sequence[str], config_name: str) -> DictConfig | None:
    """Compose the configuration once, so that a mistake on the command line is one line and exit code 2.

    Returns:
        The configuration; None for multirun and Hydra's own information flags, which are left to Hydra.
    """
    parsed = read_words(arguments)
    plain = refuse_unknown(arguments, config_name)
    if parsed.multirun or parsed.info or parsed.cfg or parsed.hydra_help or parsed.help or parsed.shell_completion:
        return None
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
            config = compose(config_name=config_name, overrides=[*parsed.overrides, *_own_files(parsed.config_dir)])
            _check_nested(config, plain)
            if "out_dir" in config and not isinstance(config.out_dir, str):
                raise ValueError(f"out_dir: got {config.out_dir!r}, accepted is a folder")
            _refuse_ignored(parsed.overrides, config)
            return config
    except (HydraException, OmegaConfBaseException) as error:
        fail(describe_error(error), USAGE_ERROR)


def refuse_unknown(arguments: Sequence[str], config_name: str) -> DictConfig:
    """The configuration without the words of the command line but for its choices of groups.

    Raises:
        ValueError: a word that names no setting: with a + in front Hydra would take it, and nothing read it.
    """
    parsed = read_words(arguments)
    folders = [CONF_DIR, *([Path(parsed.config_dir)] if parsed.config_dir else [])]
    groups = [word for word in parsed.overrides if (CONF_DIR / word.lstrip("+").partition("=")[0]).is_dir()]
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
            plain = compose(config_name=config_name, overrides=groups)
    except (HydraException, OmegaConfBaseException):  # a choice that is not there, which is said better below
        return OmegaConf.create({})
    for word in parsed.overrides:
        if wrong := _unknown_key(word, parsed.overrides, plain, folders):
            raise ValueError(wrong)
    return plain


def _own_files(folder: str | None) -> list[str]:
    """The override for what Hydra's --config-dir does: files of a user's own beside these."""
    return [] if folder is None else [f"hydra.searchpath=[file://{Path(folder).absolute()}]"]


def _refuse_ignored(overrides: Sequence[str], config: DictConfig) -> None:
    """Raise ValueError for the choice of a method where a sweep has chosen its own, which would count instead."""
    ignored = [word for word in overrides if re.match(r"method[.=]", word.lstrip("+~"))]
    if ignored and config.get("methods"):
        names = ", ".join(str(node.get("name", key)) for key, node in config.methods.items())
        raise ValueError(
            f"{ignored[0]} would be ignored: this run compares {names}; add a method with +method@methods.NAME=NAME, "
            "set an option with methods.NAME.KEY=VALUE, or leave out the sweep"
        )


def _unknown_key(word: str, words: Sequence[str], config: DictConfig, folders: Sequence[Path]) -> str | None:
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
    choice = f" (of this choice of {parent}=)" if parent in ("metrics", "tracking") else ""
    prefix = f"{parent}." if parent else ""
    return f"{word}: no setting is named {match['key']}; {nearest(last, names, prefix, f'there are {{}}{choice}')}"


def nearest(name: str, known: Iterable[str], prefix: str = "", otherwise: str = "accepted are {}") -> str:
    """The end of an error about a name: the known one that is most like it behind `prefix`, or `otherwise` with all."""
    names = list(known)
    near = get_close_matches(name, names, n=1)
    return f"did you mean {prefix}{near[0]}?" if near else otherwise.format(", ".join(sorted(names)))


def _check_nested(config: DictConfig, plain: DictConfig) -> None:
    """Raise ValueError for a single value in place of settings of their own, such as shard=1.

    Args:
        plain: the same program's configuration without the command line.
    """
    places = [str(key) for key in plain if isinstance(plain.get(key), DictConfig)]
    for place in [*places, "timing.arms", "metrics.weights", "metrics.embedders", "metrics.margins"]:
        was, now = OmegaConf.select(plain, place), OmegaConf.select(config, place)
        if isinstance(was, DictConfig) and now is not None and not isinstance(now, DictConfig):
            raise ValueError(f"{place}={now!s}: it holds settings of its own; set one of them, {place}.KEY=VALUE")
