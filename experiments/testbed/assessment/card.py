"""Writes the measured tables of the model card from the files that the measuring programs left.

    python -m experiments.testbed.assessment.card

Blocks between `<!-- card:NAME -->` and `<!-- /card:NAME -->` in `weights/README.md` are written anew: `judges` from
judges_quality.json, `generator` from generator_quality.json, `steps` from that and generator_quality_25_steps.json,
`training` from the training records (all in results/testbed), `gate` from weights/gate.json.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.system.files import write_whole
from experiments.testbed.assessment.generator_quality import ratio_above_floor
from experiments.testbed.assessment.judges_quality import Summary
from experiments.testbed.plugin.load import CLAP, CLASSIFIER, GATE, WEIGHTS, judge_hashes

RESULTS = Path("results/testbed")
BLOCK = re.compile(r"(<!-- card:(?P<name>\w+) -->\n).*?(<!-- /card:(?P=name) -->)", re.DOTALL)
SOURCES = ("real", "round_trip", "generated")
Row = tuple[str, ...]


def share(summary: Summary) -> str:
    """A share as a percentage with its interval and N."""
    value, low, high = (f"{100 * summary[key]:.1f}%" for key in ("value", "low", "high"))  # type: ignore[operator]
    return f"{value} ({low}-{high}, n={summary['n']})"


def number(summary: Summary) -> str:
    """A number with its interval and N."""
    return f"{summary['value']:.3f} ({summary['low']:.3f}-{summary['high']:.3f}, n={summary['n']})"


def table(head: Row, rows: list[Row]) -> str:
    """A markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def judges_note(quality: dict[str, Any]) -> str:
    """One line: whether a table was taken with the shipped judges. A file without their hashes is flagged, too."""
    shipped = judge_hashes(WEIGHTS / CLASSIFIER, WEIGHTS / CLAP)
    used = quality.get("judges", {})
    other = [f"{name} {used.get(name, 'not recorded')}" for name in shipped if used.get(name) != shipped[name]]
    if other:
        return f"**Not known to be of the shipped judges ({', '.join(other)}): measure again.**\n\n"
    return f"Judges: the shipped ones ({', '.join(f'{name} {digest}' for name, digest in used.items())}).\n\n"


def judges_table(quality: dict[str, Any]) -> str:
    """Classifier, vocoder and CLAP on held-out renders, with the targets that they were trained for."""
    exact, ways, clap = quality["classifier_exact_sets"], quality["conversions"], quality["clap"]
    rows: list[Row] = [("classifier, exact event sets", share(exact["all"]), "95%")]
    rows += [(f"- {name}", share(exact[name]), "") for name in ("single", "while", "then")]
    targets = {"vae_vocoder": "90%"}
    for name, way in ways.items():
        rows.append((f"- after {name.replace('_', ' ')}", share(way["exact_sets"]), targets.get(name, "")))
    for name, way in ways.items():
        target = "below Griffin-Lim" if name == "vocoder" else ""
        rows.append((f"{name.replace('_', ' ')}, log-mel L1 in nat", number(way["log_mel_l1"]), target))
    rows.append(("CLAP, text to audio, R@1 of 100 distinct scenes", share(clap["r1_text_to_audio_of_100"]), "60%"))
    rows.append(("CLAP, audio to text, R@1 of 100", share(clap["r1_audio_to_text_of_100"]), ""))
    rows.append(("CLAP, cosine with its own caption", number(clap["cosine_right"]), ""))
    rows.append(("CLAP, own minus another clip's caption", number(clap["cosine_right_minus_shuffled"]), "above 0"))
    prefix = "prefers_right_"
    for name in (key for key in clap if key.startswith(prefix)):
        rows.append((f"CLAP prefers the right {name.removeprefix(prefix)} word", share(clap[name]), "50% is chance"))
    return judges_note(quality) + table(("measure", "value", "target"), rows)


def generator_table(quality: dict[str, Any]) -> str:
    """Hits, CLAP, attributes and distances of generated clips beside real ones and their round trip."""
    rows: list[Row] = []
    targets = {"single": "97%", "while": "85%", "then": ""}
    for relation, target in targets.items():
        found = quality[relation]
        rows.append((f"hit rate, {relation}", *(share(found[source]["hit_rate"]) for source in SOURCES), target))
        rows.append((f"exact sets, {relation}", *(share(found[source]["exact_sets"]) for source in SOURCES), ""))
        margins = (number(found[source]["clap_minus_shuffled"]) for source in SOURCES)
        rows.append((f"CLAP, own minus another caption, {relation}", *margins, "above 0"))
    order = (share(quality["then"][source]["order_right"]) for source in SOURCES)
    rows.append(("order of two events", *order, "above 50%"))
    for name in ("level", "rate", "pitch"):
        found = quality[name]
        title = f"{name} word obeyed"
        if without := found.get("without"):
            title += f" (without {', '.join(without).replace('_', ' ')}: the measure misreads their real renders)"
        rows.append((title, share(found["real"]), "", share(found["generated"]), "above 50%"))
    distance = quality["frechet_distance"]
    title = f"Fréchet distance of {distance['n']} clips to {distance['n_reference']} other real ones"
    rows.append((title, *(f"{distance[source]:.1f}" for source in SOURCES), ""))
    above = ratio_above_floor(distance)
    rows.append(
        ("- over its own round trip", "", "1", distance_ratio(distance), "2.02 (a third of the study's 206 / 34)")
    )
    third = "2.66 (a third of the study's (206 - 9.4) / (34 - 9.4))"
    rows.append((
        "- the same, each less the real clips' (the floor at so few rows)", "0", "1",
        "no excess in the round trip" if above is None else f"{above:.2f}", third,
    ))  # fmt: skip
    untrained = f"{distance['generated_over_untrained']:.3f} of {distance['untrained']:.1f}"
    rows.append(("- over the untrained model's", "", "", untrained, "0.1"))
    return judges_note(quality) + table(("measure", "real", "after VAE and vocoder", "generated", "target"), rows)


def distance_ratio(distance: dict[str, Any]) -> str:
    """The generated clips' Fréchet distance over their round trip's, with its interval where the file holds one."""
    ratio, low, high = (distance.get(f"generated_over_round_trip{end}") for end in ("", "_low", "_high"))
    return f"{ratio:.2f}" if low is None else f"{ratio:.2f} ({low:.2f}-{high:.2f}, n={distance['n']})"


def steps_table(qualities: Sequence[dict[str, Any]]) -> str:
    """The generated clips of one UNet at several numbers of steps, the same captions and noise."""
    rows: list[Row] = []
    for relation in ("single", "while", "then"):
        found = [quality[relation]["generated"] for quality in qualities]
        rows.append((f"hit rate, {relation}", *(share(each["hit_rate"]) for each in found)))
        rows.append((f"exact sets, {relation}", *(share(each["exact_sets"]) for each in found)))
        margins = (number(each["clap_minus_shuffled"]) for each in found)
        rows.append((f"CLAP, own minus another caption, {relation}", *margins))
    rows.append(("order of two events", *(share(quality["then"]["generated"]["order_right"]) for quality in qualities)))
    distances = [quality["frechet_distance"] for quality in qualities]
    rows.append(("Fréchet distance", *(f"{distance['generated']:.1f}" for distance in distances)))
    rows.append(("- over its own round trip", *map(distance_ratio, distances)))
    notes = {judges_note(quality): None for quality in qualities}
    return "".join(notes) + table(
        ("measure", *(f"{quality['settings']['steps']} steps" for quality in qualities)), rows
    )


def gate_table(gate: dict[str, Any]) -> str:
    """The gate's five numbers at each length."""
    rows: list[Row] = []
    for reading in gate["readings"]:
        passed = reading["verdicts"]
        deletion = ", ".join(f"{100 * value:.0f}% at {t}" for t, value in reading["deletion_share"].items())
        rows.append((
            f"{reading['length']}x", f"{reading['same_frequency_ratio']:.2f}", f"{reading['entropy_gap_nat']:.2f}",
            deletion, *("pass" if passed[key] else "FAIL" for key in ("focus_beats_deleted", "compensation_worse")),
            "pass" if all(passed.values()) else "FAIL",
        ))  # fmt: skip
    head = ("length", "same-frequency mass over uniform (2)", "ln N - H, nat (1)", "deletion costs (5%)")
    return table((*head, "focus beats deleted", "compensation worse", "all"), rows)


# Run, steps x batch, peak rate, minutes, its record in RESULTS ("" where none was kept), remark.
RUNS = (
    ("text side", "1300", "", "2", "training_text.jsonl", "slots named right on held-out captions: 99.9%"),
    ("VAE", "700 x 12", "0.0015", "", "training_vae.jsonl", "L1 0.138 standard deviations"),
    ("UNet", "2400 x 6, 6,000 scenes", "0.0012", "", "training_unet.jsonl", ""),
    ("UNet, continued", "3700 x 8, 12,000 scenes", "0.001", "64", "training_unet_continued.jsonl", ""),
    ("UNet, with time taps", "600 x 8, 6,000 scenes", "0.001", "11", "training_unet_taps.jsonl", ""),
    ("UNet, even noise levels", "5100 x 8, 6,000 scenes", "0.001", "82", "training_unet_levels.jsonl", ""),
    ("UNet, more pairs, two processes", "12000 x 8, 6,000 scenes", "0.001", "95", "training_unet_pairs.jsonl", ""),
    ("classifier", "2600 x 32", "0.003", "31", "training_classifier.json", ""),
    ("classifier2", "1800 x 32", "0.002", "21", "training_classifier2.json", ""),
    ("classifier3, 49,152 scenes", "1800 x 32", "0.002", "14", "training_classifier3.json", ""),
    ("classifier4, 16,384 scenes and mixes", "2400 x 32", "0.0015", "34", "training_classifier4.jsonl", ""),
    ("CLAP", "600 x 32, 1000 x 32", "0.0015, 0.0012", "13, 10", "", ""),
    ("CLAP, continued", "1200 x 32", "0.001", "5", "training_clap.json", ""),
    ("CLAP2, order of events", "1200 x 32", "0.001", "10", "training_clap2.jsonl", ""),
    ("CLAP3, order of events", "1000 x 32", "0.001", "7", "training_clap3.jsonl", ""),
)


def first_and_last(record: Path) -> tuple[float, float]:
    """The first and the last loss that a training record holds, whatever number of steps it averages."""
    text = record.read_text(encoding="utf-8")
    if record.suffix == ".json":
        losses = [entry["total"] for entry in json.loads(text)["losses"]]
    else:
        losses = [entry["loss"] for line in text.splitlines() if "loss" in (entry := json.loads(line))]
    return losses[0], losses[-1]


def training_table() -> str:
    """The training runs, with the losses that their records hold."""
    rows: list[Row] = []
    for *cells, record, remark in RUNS:
        losses = "{:.2f} -> {:.2f}".format(*first_and_last(RESULTS / record)) if record else "no record kept"
        rows.append((*cells, f"{losses}; {remark}" if remark else losses))
    return table(("run", "steps x batch", "peak rate", "minutes", "loss, first -> last entry of the record"), rows)


def _by_steps() -> str:
    files = [RESULTS / name for name in ("generator_quality.json", "generator_quality_25_steps.json")]
    return steps_table([json.loads(file.read_text(encoding="utf-8")) for file in files])


def _measured(source: Path, render: Callable[[dict[str, Any]], str]) -> Callable[[], str]:
    return lambda: render(json.loads(source.read_text(encoding="utf-8")))


BLOCKS: dict[str, Callable[[], str]] = {
    "training": training_table,
    "judges": _measured(RESULTS / "judges_quality.json", judges_table),
    "generator": _measured(RESULTS / "generator_quality.json", generator_table),
    "steps": _by_steps,
    "gate": _measured(WEIGHTS / GATE, gate_table),
}


def fill(text: str) -> str:
    """The card with every block written anew.

    Raises:
        KeyError: a block of an unknown name, or a measurement that its file lacks.
        FileNotFoundError: a measuring program has not been run.
    """

    def block(match: re.Match[str]) -> str:
        return f"{match[1]}{BLOCKS[match['name']]()}\n{match[3]}"

    return BLOCK.sub(block, text)


if __name__ == "__main__":
    card = WEIGHTS / "README.md"
    write_whole(card, fill(card.read_text(encoding="utf-8")).encode())
    print(card.name)
