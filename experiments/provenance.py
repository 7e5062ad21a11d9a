"""What stands beside every table, figure and page: where its numbers came from and what they cannot say."""

from experiments.records import RunRecord


def provenance(run: RunRecord) -> str:
    """What was measured, where, and what it cannot say: one markdown line per statement."""
    lines = [f"Measured on {where(run)}, commit {commit(run)}, started {run.started_at}."]
    if not run.pipeline["trained"]:
        lines.append(
            f"`{run.pipeline['name']}` has random weights: its speed is that of the published architecture, its audio "
            "is noise, and no quality metric applies."
        )
    return "\n".join(lines)


def where(run: RunRecord) -> str:
    """Pipeline, device, threads, dtype and torch version of a run."""
    environment = run.environment
    return (
        f"{run.pipeline['name']}, {environment['device']} ({environment['threads']} threads), "
        f"{environment['dtype']}, torch {environment['packages']['torch']}"
    )


def commit(run: RunRecord) -> str:
    """The commit's first twelve digits, with -dirty for a changed tree."""
    digits = run.environment["commit"]
    return "unknown (no git checkout)" if digits is None else digits[:12] + "-dirty" * bool(run.environment["dirty"])
