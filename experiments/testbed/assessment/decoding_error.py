"""What decoding in chunks changes: the log-mel error of the VAE, by overlap.

python -m experiments.testbed.assessment.decoding_error clips=4 length=8 out=results/decoding

On latents of held-out testbed scenes; evidence about the testbed's VAE, which has no middle attention (the published
one has, and group normalisation over the whole clip besides). Appends one record per overlap and prints a table.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from experiments.pipelines.pipeline import Pipeline
from experiments.system.environment import describe
from experiments.system.files import write_whole
from experiments.system.settings import program
from experiments.tables.formats import ResultTable, to_csv, to_markdown
from experiments.testbed.assessment.gate import heldout_scenes
from experiments.testbed.corpus.scenes import TRAIN_DURATION_S, render_scene
from experiments.testbed.models.mel import log_mel
from experiments.testbed.models.vae import encode_mel
from experiments.testbed.plugin.load import load_on_cpu
from experiments.testbed.training.train_state import append_record
from litefocus.long_audio.decoding import DecodingChunks, decoding_in_chunks

OVERLAPS = (1, 8, 16, 32, 64)


@dataclass(frozen=True)
class ErrorSettings:
    """`folder`: a testbed pipeline, empty for the shipped one. `length`: in 5.12 s. `chunk`: in latent frames."""

    folder: str = ""
    clips: int = 4
    length: int = 8
    chunk: int = 128
    out: str = "results/decoding"
    threads: int = 1


@torch.no_grad()
def heldout_latents(vae: Any, count: int, length: int) -> torch.Tensor:
    """The gate's held-out scenes, `length` x 5.12 s long, as the VAE encodes them: (B, C, T, F)."""
    audio = (render_scene(scene, length * TRAIN_DURATION_S) for scene in heldout_scenes(count))
    return torch.cat([encode_mel(vae, log_mel(torch.from_numpy(samples)[None])) for samples in audio])


@torch.no_grad()
def decoding_errors(pipeline: Pipeline, latents: torch.Tensor, chunks: DecodingChunks) -> dict[str, float]:
    """Chunked against whole decoding of latents (B, C, T, F), T beyond `chunks.beyond_frames`.

    Returns:
        mel_mean, mel_max: absolute log-mel error in nat.
    """
    vae = pipeline.pipe.vae
    whole = vae.decode(latents).sample
    with decoding_in_chunks(pipeline.pipe, pipeline.usable(chunks)):
        error = (vae.decode(latents).sample - whole).abs()
    return {"mel_mean": float(error.mean()), "mel_max": float(error.max())}


def run(settings: ErrorSettings) -> str:
    """Measure every overlap, append records, write the table; returns it as markdown."""
    pipeline = load_on_cpu(settings.folder)
    latents = heldout_latents(pipeline.pipe.vae, settings.clips, settings.length)
    out, rows = Path(settings.out), []
    for overlap in (overlap for overlap in OVERLAPS if overlap <= settings.chunk):
        chunks = DecodingChunks(settings.chunk, settings.chunk, overlap)
        errors = decoding_errors(pipeline, latents, chunks)
        rows.append([float(overlap), *(float(f"{value:.3g}") for value in errors.values())])
        record = {"kind": "decoding_error", "chunk": settings.chunk, "overlap": overlap, "length": settings.length}
        about = {"weights": pipeline.weights, "environment": describe(pipeline.device, pipeline.dtype)}
        append_record(out / "records.jsonl", record | {"clips": settings.clips} | errors | about)
    table = ResultTable(
        "decoding_error",
        f"Decoding in chunks of {settings.chunk} latent frames against decoding {latents.shape[2]} at once",
        [
            "overlap (latent frames)",
            "VAE: mean log-mel error (nat)",
            "VAE: largest (nat)",
        ],
        ["overlap", "mel_mean_nat", "mel_max_nat"],
        rows,
        [f"{settings.clips} held-out clips, testbed {pipeline.weights[:19]}: evidence about this small model only."],
    )
    write_whole(out / "decoding_error.md", to_markdown(table))
    write_whole(out / "decoding_error.csv", to_csv(table))
    return to_markdown(table)


if __name__ == "__main__":
    program(ErrorSettings, lambda settings: f"{run(settings)}\nresults: {settings.out}", __doc__)
