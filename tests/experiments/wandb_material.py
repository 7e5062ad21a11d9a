"""What an offline run of the tracker wrote, read back from its own files."""

import json
import struct


def options(name="wandb", **changes):
    found = {"name": name, "project": "litefocus", "entity": None, "group": "sweep", "mode": "offline"}
    return {**found, "audio_prompts": 2, **changes}


def values(items):
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def read_back(run_dir, run_id=""):
    """The offline run of an id, or the newest: what it is, its rows, its summary."""
    import wandb

    wandb.teardown()
    records = offline_records(run_dir, run_id)
    runs = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    rows = [values(record.history.item) for record in records if record.WhichOneof("record_type") == "history"]
    totals = {}
    for record in records:
        if record.WhichOneof("record_type") == "summary":
            totals |= values(record.summary.update)
    return runs[0], rows, totals


def offline_records(run_dir, run_id=""):
    """The protobuf records of the newest offline run; the file is a LevelDB log after a seven-byte header."""
    from wandb.proto import wandb_internal_pb2

    (path,) = sorted(run_dir.glob(f"wandb/offline-run-*{run_id}/*.wandb"))[-1:]
    content, position, parts, found = path.read_bytes(), 7, [], []
    while position + 7 <= len(content):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        parts.append(content[position + 7 : position + 7 + length])
        position += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(b"".join(parts))
            found.append(record)
            parts = []
    return found
