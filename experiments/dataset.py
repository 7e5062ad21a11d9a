"""The results as a versioned data set: `python -m experiments.dataset dist/dataset` (make dataset).

Every run folder of `results/` as parquet tables, one a file, with Croissant metadata (MLCommons, version 1.0) beside
them: the frames of `experiments.frames` with the folder's name in front, and `starts`, which says where each was made.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd

import litefocus
from experiments.dataframes import Frames, frames_of
from experiments.records import RECORDS_FILE, StartRecord
from experiments.records.provenance import commit
from experiments.records.run import Run
from experiments.system.cli import one_folder, one_line_errors
from experiments.system.files import sha256_file, write_whole

RESULTS = Path("results")
# Records of their own kind, written before this schema: their tables lie beside them as csv.
NOT_RUNS = ("decoding", "linear")
PAPER = "https://arxiv.org/abs/2407.10468"
MIT = "https://opensource.org/license/mit"
DESCRIPTION = (
    "Records of LiteFocus, training-free faster text-to-audio diffusion on long clips: generated clips (times, hashes, "
    "no audio), quality metrics with 95% intervals, paired differences, timings. Quality is of the testbed, a small "
    "model trained for this, and says nothing about AudioLDM 2; timings at AudioLDM 2's size are of random weights."
)
# Of pandas, and the name of the same type in mlcroissant.DataType; all else is text.
STORED_AS: dict[str, Any] = {
    "boolean": "boolean",
    **dict.fromkeys(("integer", "floating", "mixed-integer-float"), "float64"),
}
TYPES = {"bool": "BOOL", "boolean": "BOOL", "int64": "INTEGER", "float64": "FLOAT"}


def run_folders(results: Path) -> list[Path]:
    """The run folders below `results/`, submitted ones among them, by name."""
    found = sorted(path.parent for path in results.glob(f"**/{RECORDS_FILE}"))
    return [folder for folder in found if folder.name not in NOT_RUNS]


def tables(results: Path) -> dict[str, pd.DataFrame]:
    """Each frame of every run, the folder's name in column `run`; and the starts."""
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in ("starts", *Frames._fields)}
    for folder in run_folders(results):
        name, run = folder.relative_to(results).as_posix(), Run.load(folder)
        found = {"starts": pd.DataFrame(map(_start, run.of_kind(StartRecord))), **frames_of(run)._asdict()}
        for table, frame in found.items():
            if len(frame):
                frame.insert(0, "run", name)
                parts[table].append(frame)
    return {name: _plain(pd.concat(found, ignore_index=True)) for name, found in parts.items() if found}


def _start(start: StartRecord) -> dict[str, Any]:
    environment = start.environment
    return {
        "run_id": start.run_id,
        "kind": start.kind,
        "started_at": start.started_at,
        "commit": commit(start),
        "pipeline": str(start.pipeline["name"]),
        "trained": bool(start.pipeline["trained"]),
        "device": str(environment["device"]),
        "dtype": str(environment["dtype"]),
        "threads": int(environment["threads"]),
        "torch": str(environment["packages"]["torch"]),
        "config": json.dumps(start.config, sort_keys=True),
    }


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of one type each, by what their values are: an id of digits stays text. Missing values are kept."""
    for column in frame.columns[[str(dtype) not in TYPES for dtype in frame.dtypes]]:
        kind = pd.api.types.infer_dtype(frame[column], skipna=True)
        frame[column] = frame[column].astype(STORED_AS.get(kind, "string"))
    return frame


def write_dataset(results: Path, folder: Path) -> dict[str, int]:
    """Write the parquet files and croissant.json; returns rows by table.

    Raises:
        ImportError: pyarrow or mlcroissant is not installed.
        ValueError: no run folder below `results`.
    """
    found = tables(results)
    if not found:
        raise ValueError(f"{results}: no run folders; start in the root of the clone")
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in found.items():
        frame.to_parquet(folder / f"{name}.parquet", index=False)
    text = json.dumps(croissant(found, folder), indent=2, ensure_ascii=False, default=str)
    write_whole(folder / "croissant.json", text + "\n")
    return {name: len(frame) for name, frame in found.items()}


def croissant(found: dict[str, pd.DataFrame], folder: Path) -> dict[str, Any]:
    """Croissant 1.0 metadata of the files in a folder; checked by mlcroissant as it is made."""
    import mlcroissant as mlc

    def data_type(column: pd.Series) -> Any:
        return getattr(mlc.DataType, TYPES.get(str(column.dtype), "TEXT"))

    distribution, record_sets = [], []
    for name, frame in found.items():
        path = folder / f"{name}.parquet"
        file = mlc.FileObject(
            id=path.name, name=path.name, content_url=path.name, encoding_formats=["application/x-parquet"],
            content_size=f"{path.stat().st_size} B", sha256=sha256_file(path),
        )  # fmt: skip
        fields = [
            mlc.Field(
                id=f"{name}/{column}", name=f"{name}/{column}", data_types=data_type(frame[column]),
                source=mlc.Source(file_object=path.name, extract=mlc.Extract(column=column)),
            )
            for column in frame.columns
        ]  # fmt: skip
        distribution.append(file)
        record_sets.append(mlc.RecordSet(id=name, name=name, fields=fields))
    metadata = mlc.Metadata(
        name="litefocus-results", description=DESCRIPTION, url=PAPER, license=[MIT], version=litefocus.__version__,
        date_published=max(found["starts"]["started_at"])[:10], cite_as=PAPER, distribution=distribution,
        record_sets=record_sets,
    )  # fmt: skip
    return dict(metadata.to_json())


def main() -> None:
    """The command line: the folder to write."""
    with one_line_errors():
        folder = one_folder(sys.argv[1:], "dist/dataset", __doc__)
        for name, rows in write_dataset(RESULTS, folder).items():
            print(f"{folder / name}.parquet: {rows} rows")


if __name__ == "__main__":
    main()
