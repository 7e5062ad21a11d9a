"""The W&B run of a run folder: its progress from the first clip, its results once the report is drawn.

Nothing is imported unless `tracking=wandb` is chosen. The W&B id depends on the records alone, and a run that is
opened again is written anew from the records, the clips of earlier starts included: nothing is there twice, whether it
was resumed, tracked again, or moved to another machine. A shard has a W&B run of its own, in the group of the whole.
"""

import hashlib
import logging
import shlex
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from experiments.listen.data import gather
from experiments.matrix.clips import Clip
from experiments.matrix.shards import Shard
from experiments.records import ClipRecord, RunRecord, located_records, of_kind
from experiments.records.provenance import provenance
from experiments.records.run import Run
from experiments.tracking.progress import AGAINST_CLIPS, CLIPS_DONE, Pace, clip_rows
from experiments.tracking.results import history, media, summary

logger = logging.getLogger(__name__)

MODES = ("online", "offline")
TRACKERS = ("none", "wandb")


def check_tracker(options: Mapping[str, Any]) -> None:
    """Raise what would stop tracking, so that a run can ask before it generates.

    Raises:
        ValueError: an unknown tracker or mode, or no API key for mode online.
        ImportError: wandb is not installed; names the extra.
    """
    if options["name"] not in TRACKERS:
        raise ValueError(f"tracking.name {options['name']!r}: accepted are {', '.join(TRACKERS)}")
    if options["name"] == "none":
        return
    if options["mode"] not in MODES:
        raise ValueError(f"tracking.mode {options['mode']!r}: accepted are {', '.join(MODES)}")
    # Looks for a key and asks nobody, neither the user nor the network.
    if options["mode"] == "online" and not _wandb().login(prompt=False, verify=False):
        raise ValueError("tracking.mode online: no W&B API key here; run wandb login, or use tracking.mode=offline")
    _wandb()


def _wandb() -> Any:
    try:
        import wandb
    except ImportError as error:
        raise ImportError("tracking=wandb needs wandb: pip install -e '.[wandb]'") from error
    return wandb


class Tracker:
    """Tells the configured tracker what a start does; with `name: none` it does nothing. A context manager.

    Trouble with W&B while clips are made ends the tracking with a warning, never the run.

    Args:
        options: the configuration's `tracking`.
        shard: this process's share of the clips.
        clock: returns seconds.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        run_dir: Path,
        shard: Shard | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._options, self._run_dir, self._shard, self._clock = options, run_dir, shard or Shard(), clock
        self._is_on = options["name"] != "none"
        self._run: Any = None
        self._begun = clock()
        self._done = self._failed = 0
        self._clips_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._quietly(lambda: print(self._close(exit_code=int(kind is not None)), end=""))

    def begin(self, planned: Sequence[Clip]) -> None:
        """Open the W&B run with the clips that are there already; call it once this start has its record."""
        if self._is_on:
            self._quietly(lambda: self._open(planned))

    def now(self, doing: str) -> None:
        """Say what is done next, in the summary."""
        if self._run is not None:
            self._quietly(lambda: self._run.summary.update({"progress/now": doing}))

    def clips(self, made: Sequence[ClipRecord], failed: int, share: float) -> None:
        """Tell of the clips of one call of the pipeline.

        Args:
            failed: how many of the call gave none. share: of the predicted work of this start that is done.
        """
        if self._run is None:
            return
        spent_s = self._clock() - self._begun
        self._failed += failed
        self._clips_s += sum(clip.latency_s for clip in made)
        pace = Pace(self._failed, max(0.0, spent_s - self._clips_s), spent_s * (1 - share) / share / 3600)
        # A call that gave no clip moves no count but that of failures.
        *earlier, last = [*clip_rows(made, self._done)] or [{CLIPS_DONE: self._done}]
        self._done += len(made)
        self._quietly(lambda: self._log([*earlier, last | pace.row()]))

    def results(self) -> str:
        """Send what the run folder has to show; the report stage calls it after rendering.

        Returns:
            What is left to do: offline, the line that uploads it; else nothing.
        Raises:
            ValueError: a folder without a run's records.
            ConnectionError: W&B refused or was not reached.
        """
        if not self._is_on:
            return ""
        try:
            if self._run is None:
                self._open()
            self._send_results()
            return self._close(exit_code=0)
        except _troubles() as error:
            self._run = None
            raise ConnectionError(
                f"not tracked ({_line(error)}); the report is written, stages=[report] tracks it"
            ) from error

    def _open(self, planned: Sequence[Clip] = ()) -> None:
        recorded = Run.load(self._run_dir)
        if not recorded.runs:
            raise ValueError(f"{self._run_dir}: no records to track; run the generate or timing stage first")
        wandb, options, newest, run_id = _wandb(), self._options, recorded.runs[-1], tracking_id(recorded, self._shard)
        # Neither console output, code, git state, host name nor folders are uploaded: the records hold what is needed.
        settings = wandb.Settings(
            console="off", disable_git=True, save_code=False, x_disable_stats=True, x_disable_meta=True, silent=True
        )
        if options["mode"] == "offline":
            _drop_unsent(self._run_dir, run_id)
        self._run = wandb.init(
            id=run_id,
            name=" ".join(filter(None, [str(newest.config.get("name", self._run_dir.name)), self._shard.name])),
            project=options["project"],
            entity=options["entity"],
            group=options["group"],
            job_type=None if self._shard.is_whole else "shard",
            mode=options["mode"],
            dir=str(self._run_dir),
            tags=[str(tag) for tag in options.get("tags") or ()],
            # No `resume`: an id that exists is written anew. The records hold all of it: continuing would double it.
            notes=self._notes(recorded),
            config={"run": newest.config, "environment": newest.environment, "pipeline": newest.pipeline},
            settings=settings,
        )
        self._run.define_metric(CLIPS_DONE)
        for name in AGAINST_CLIPS:
            self._run.define_metric(name, step_metric=CLIPS_DONE)
        there = {clip.audio: clip for clip in recorded.of_kind(ClipRecord)}
        grid = gather(recorded)
        count = len(grid.clips) + len(grid.gaps)
        if not self._shard.is_whole:
            there = {clip.audio: there[clip.audio] for clip in planned if clip.audio in there}
            count = len(planned)
        self._run.summary.update({"progress/clips_planned": count})
        self._log(clip_rows(list(there.values())))
        self._done = len(there)

    def _notes(self, recorded: Run) -> str:
        own = [str(text) for text in [self._options.get("notes")] if text]
        return "\n".join([*own, provenance([recorded.runs[-1]]), *recorded.quality_notes()])

    def _log(self, rows: Iterable[dict[str, Any]]) -> None:
        for row in rows:
            self._run.log(row)

    def _send_results(self) -> None:
        run, recorded = self._run, Run.load(self._run_dir)
        run.notes = self._notes(recorded)
        run.define_metric("duration_s")
        rows = list(history(recorded))
        for name in dict.fromkeys(name for row in rows for name in row if name != "duration_s"):
            # W&B would keep the last row's value in the summary, under a name without its length.
            run.define_metric(name, step_metric="duration_s", summary="none")
        self._log(rows)
        run.summary.update({**summary(recorded), "progress/now": "reported"})
        run.log(media(recorded, int(self._options["audio_prompts"]), _wandb()))
        logger.info("%s: tracked as W&B run %s", self._run_dir, run.id)

    def _close(self, exit_code: int) -> str:
        """End the W&B run; returns as `results`."""
        if self._run is None:
            return ""
        run, self._run = self._run, None
        run.finish(exit_code=exit_code)
        folder = shlex.quote(str(Path(run.settings.sync_dir)))
        return f"to upload it: wandb sync {folder}\n" if self._options["mode"] == "offline" else ""

    def _quietly(self, work: Callable[[], object]) -> None:
        if not self._is_on:
            return
        try:
            work()
        except _troubles() as error:
            self._run = None
            logger.warning("not tracked from here on (%s); stages=[report] tracks the whole run", _line(error))


def _troubles() -> tuple[type[BaseException], ...]:
    """What wandb raises when its server or its own process is gone."""
    return (_wandb().Error, OSError, RuntimeError)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _drop_unsent(run_dir: Path, run_id: str) -> None:
    """Remove what earlier offline trackings of this run left: the one to come holds all that they do."""
    for folder in run_dir.glob(f"wandb/offline-run-*-{run_id}"):
        shutil.rmtree(folder)


def tracking_id(recorded: Run, shard: Shard | None = None) -> str:
    """The W&B run id: the same for the same run whenever and wherever it is tracked, another for a fresh run.

    A shard's follows from the first start in its own file: which shard came first is not settled while they begin.
    """
    first, name = recorded.runs[0], ""
    if shard is not None and not shard.is_whole:
        name = f"\0{shard.name}"
        place = f"{shard.records_file}:"
        own = [record for where, record in located_records(recorded.folder) if where.startswith(place)]
        first = of_kind(own, RunRecord)[0]
    return hashlib.sha256(f"{first.config.get('name')}\0{first.run_id}{name}".encode()).hexdigest()[:16]
