"""Which commit of a hub repository a run uses: a branch can move between two starts, a commit names its content."""

import logging
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from experiments.records import StartRecord, of_kind, read_records

logger = logging.getLogger(__name__)

COMMIT = re.compile(r"[0-9a-f]{40}")
WHAT_TO_SAVE = (
    "save model_index.json and the component folders (unet, vae, vocoder, scheduler, text encoders, tokenizers)"
)


def with_commit(config: DictConfig) -> DictConfig:
    """The configuration with `pipeline.revision` filled in, where a hub pipeline leaves it null.

    The commit is the one of the run folder's earlier start, else the hub's current one, asked for once.

    Raises:
        ConnectionError: the hub does not say; names what to put where.
    """
    pipeline = config.pipeline
    if "hub_id" not in pipeline or pipeline.get("path") is not None or pipeline.get("revision") is not None:
        return config
    run_dir = Path(config.out_dir)
    earlier = of_kind(read_records(run_dir), StartRecord) if run_dir.is_dir() else []
    commit = recorded_commit(pipeline.hub_id, earlier)
    if commit is None:
        commit = current_commit(pipeline.hub_id)
        logger.info("%s: the current commit is %s; pipeline.revision fixes another", pipeline.hub_id, commit)
    else:
        logger.info("%s: commit %s, as before in %s", pipeline.hub_id, commit, run_dir)
    changed = config.copy()
    OmegaConf.update(changed, "pipeline.revision", commit)
    return changed


def recorded_commit(hub_id: str, starts: Iterable[StartRecord]) -> str | None:
    """The commit of `hub_id` that a folder's starts used, None where none did."""
    identities = (str(start.pipeline.get("weights")).rpartition("@") for start in starts)
    return next((commit for name, _, commit in identities if name == hub_id and COMMIT.fullmatch(commit)), None)


def current_commit(hub_id: str) -> str:
    """The commit that the hub's default branch is at now.

    Raises:
        ConnectionError: no network, or no such repository.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError

    try:
        commit = HfApi().model_info(hub_id).sha
    except (OSError, HTTPError) as error:
        reason = textwrap.shorten(str(error) or type(error).__name__, 240)
        raise ConnectionError(
            f"cannot ask the hub for the current commit of {hub_id} ({reason}); set pipeline.revision to its 40 hex "
            f"digits if the weights are in the hub's cache, or on a machine with network {WHAT_TO_SAVE} and set "
            f"pipeline.path=FOLDER here"
        ) from error
    if not COMMIT.fullmatch(str(commit)):
        raise ConnectionError(f"the hub names no commit of {hub_id} (got {commit!r}); set pipeline.revision to one")
    return str(commit)
