"""Whether a run folder holds what its records speak of: the start that made each, and the clips behind each score."""

import logging
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from experiments.records.store import SHARD_FILE, clip_key, of_kind, record_files
from experiments.records.types import ClipRecord, MetricRecord, Record, StartRecord

logger = logging.getLogger(__name__)


def check_complete(records: Sequence[Record], folder: Path) -> None:
    """Refuse records that are not all there.

    A clip may be of a start without a record: its settings and the hash of its audio stand in its own. The log says so.

    Args:
        records: of a run folder, as they were read. folder: named in the message, and asked for its record files.
    Raises:
        ValueError: a measurement of a start that has no record, or a score of more clips than were recorded.
    """
    known = {record.run_id for record in records if isinstance(record, StartRecord)}
    unknown = [record for record in records if record.run_id not in known]
    for record in unknown:
        if not isinstance(record, ClipRecord):
            raise ValueError(
                f"{folder}: a {record.kind} record is of the start {record.run_id!r}, which has no record, so that its "
                "commit and machine are unknown; restore the folder's record files, or take such records out"
            )
    if unknown:
        starts = ", ".join(sorted({record.run_id for record in unknown}))
        logger.warning("%s: commit and machine of %d clips are unknown (start %s)", folder, len(unknown), starts)
    _check_clips(list(records), folder)


def _check_clips(records: list[Record], folder: Path) -> None:
    # A clip that was scored and then failed when it was made again has the record of its failure.
    told = Counter(key[0] for key in {clip_key(record) for record in records} if key is not None)
    for score in of_kind(records, MetricRecord):
        if score.n_scored > told[score.condition]:
            raise ValueError(
                f"{folder}: {score.metric} of {score.condition} is of {score.n_scored} clips, the records hold "
                f"{told[score.condition]} of them; {_missing_files(folder)}"
            )


def _missing_files(folder: Path) -> str:
    """What to do, naming the first shard's file that is not there."""
    shards: dict[str, set[int]] = {}
    for path in record_files(folder):
        if SHARD_FILE.fullmatch(path.name):
            index, count = re.findall("[0-9]+", path.name)
            shards.setdefault(count, set()).add(int(index))
    for count, found in shards.items():
        first = next((index for index in range(int(count)) if index not in found), None)
        if first is not None:
            return f"records.shard-{first:0{len(count)}}-of-{count}.jsonl is missing: copy it from where it was written"
    return "restore the folder's record files, or score what is there with stages=[score]"
