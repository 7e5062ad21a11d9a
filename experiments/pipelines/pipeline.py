"""Text-to-audio pipelines behind one call: caption, noise and length in, waveform out.

Shapes: S samples of a waveform.
"""

import gc
import logging
import math
import re
import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.datasets.prompts import Prompt
from experiments.pipelines.clock import now
from experiments.pipelines.pipeline_folder import FAMILIES, SAVE_AGAIN, check_folder, check_tokenizers, hash_weights
from experiments.pipelines.revisions import COMMIT, WHAT_TO_SAVE
from experiments.system.seeds import noise_generator
from litefocus.long_audio.decoding import DecodingChunks, decoding_in_chunks
from litefocus.repair import repair_pipeline

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class GeneratedClip:
    """One waveform with the time it took.

    Attributes:
        samples: float32 (S,), S = duration_s * sample_rate exactly.
        latency_s: text to wave. step_s: median seconds per step (nan below two steps). decode_s: after the last step.
    """

    samples: np.ndarray
    latency_s: float
    step_s: float
    decode_s: float


@dataclass
class Pipeline:
    """A loaded diffusers pipeline and what the harness must know about it.

    Attributes:
        pipe: AudioLDM2Pipeline, AudioLDMPipeline or MusicLDMPipeline.
        trained: False means its audio is noise: quality metrics refuse it by name.
        training_length_s: the clip length it was trained on (the length of one evaluation window).
        weights: identity of the weights (hash, or hub id and commit).
        decode_in_chunks: longer clips than its `beyond_frames` are decoded in chunks; None never does.
        gate: readings that say at which lengths a claim about attention can be tested on these weights, if there are.
    """

    name: str
    pipe: Any
    trained: bool
    training_length_s: float
    weights: str
    gate: tuple[dict[str, Any], ...] = ()
    decode_in_chunks: DecodingChunks | None = field(default_factory=DecodingChunks)

    @property
    def sample_rate(self) -> int:
        """Samples per second of the vocoder's output."""
        return int(self.pipe.vocoder.config.sampling_rate)

    @property
    def device(self) -> torch.device:
        """Where the UNet runs."""
        return next(self.pipe.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The UNet's precision."""
        return next(self.pipe.unet.parameters()).dtype

    def latent_grid(self, duration_s: float) -> tuple[int, int]:
        """(time, frequency) of the latents of a clip, as the pipeline computes them."""
        scale = int(self.pipe.vae_scale_factor)
        return -(-self._frames(duration_s) // scale), int(self.pipe.vocoder.config.model_in_dim) // scale

    @property
    def _hop(self) -> int:
        """Samples per mel frame."""
        return int(np.prod(self.pipe.vocoder.config.upsample_rates))

    def _frames(self, duration_s: float) -> int:
        """Mel frames that cover a clip; the tolerance keeps 10.24 s from becoming one frame more."""
        return math.ceil(duration_s * self.sample_rate / self._hop - 1e-6)

    def check_duration(self, duration_s: float) -> None:
        """Raise ValueError where the pipeline would return another length than was asked for."""
        minimum_s = self._hop * int(self.pipe.vae_scale_factor) / self.sample_rate
        if duration_s < minimum_s:
            raise ValueError(
                f"duration {duration_s:g} s: {self.name} makes clips of at least {minimum_s:g} s; ask for more"
            )
        exact = duration_s * self.sample_rate
        if abs(exact - round(exact)) > 1e-6:
            raise ValueError(
                f"duration {duration_s:g} s: {exact:g} samples at {self.sample_rate} Hz; give a whole number of samples"
            )

    def generate(
        self,
        prompts: Sequence[Prompt],
        seeds: Sequence[int],
        duration_s: float,
        steps: int,
        guidance: float,
    ) -> list[GeneratedClip]:
        """Generate one clip per (prompt, seed) pair, all in one call of the pipeline.

        Times are divided by the number of clips.
        """
        self.check_duration(duration_s)
        pairs = list(zip(prompts, seeds, strict=True))
        stamps: list[float] = []

        def stamp(*_: Any) -> None:
            stamps.append(now(self.device))

        start = now(self.device)
        with self._decoding():
            output = self.pipe(
                prompt=[prompt.text for prompt, _ in pairs],
                # Whole frames, and half a sample more because the pipeline truncates; the clip is cut to length below.
                audio_length_in_s=(self._frames(duration_s) * self._hop + 0.5) / self.sample_rate,
                num_inference_steps=steps,
                guidance_scale=guidance,
                generator=[noise_generator(prompt.id, seed, duration_s) for prompt, seed in pairs],
                callback=stamp,
                output_type="np",
            )
        end = now(self.device)
        step_s = float(np.median(np.diff(stamps))) if len(stamps) > 1 else float("nan")
        length = round(duration_s * self.sample_rate)
        return [
            GeneratedClip(
                samples=_exact_length(np.asarray(audio, dtype=np.float32), length, self.name),
                latency_s=(end - start) / len(pairs),
                step_s=step_s / len(pairs),
                decode_s=(end - stamps[-1]) / len(pairs),
            )
            for audio in output.audios
        ]

    def _decoding(self) -> AbstractContextManager[None]:
        chunks = self.usable(self.decode_in_chunks)
        return nullcontext() if chunks is None else decoding_in_chunks(self.pipe, chunks)

    def usable(self, chunks: DecodingChunks | None) -> DecodingChunks | None:
        """`chunks`, without the vocoder where that says of itself that it has to see the whole clip."""
        whole = getattr(self.pipe.vocoder, "reads_whole_clip", False)
        return replace(chunks, vocoder=False) if chunks is not None and whole else chunks

    def describe(self) -> dict[str, Any]:
        """What the records keep about the pipeline."""
        return {
            "name": self.name,
            "trained": self.trained,
            "training_length_s": self.training_length_s,
            "sample_rate": self.sample_rate,
            "weights": self.weights,
            "gate": list(self.gate),
            "unet_parameters": sum(p.numel() for p in self.pipe.unet.parameters()),
        }


def _exact_length(audio: np.ndarray, length: int, name: str) -> np.ndarray:
    if audio.ndim != 1 or len(audio) < length:
        raise RuntimeError(f"{name} returned audio of shape {audio.shape}, expected at least {length} mono samples")
    return audio[:length]


def select_device(name: str, shard: int = 0) -> torch.device:
    """The device for `auto`, `cpu`, `cuda` or `cuda:N`.

    Args:
        shard: with `auto`, shards on one machine take its CUDA devices in turn.
    Raises:
        ValueError: an unknown name, or CUDA where torch sees none.
    """
    if name == "auto":
        return (
            torch.device("cuda", shard % torch.cuda.device_count())
            if torch.cuda.is_available()
            else torch.device("cpu")
        )
    if not re.fullmatch(r"cpu|cuda(:\d+)?", str(name)):
        raise ValueError(f"device {name!r}: accepted are auto, cpu, cuda and cuda:N")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name!r}: torch sees no CUDA device here; use device=cpu")
    if device.index is not None and device.index >= torch.cuda.device_count():
        raise ValueError(f"device {name!r}: torch sees {torch.cuda.device_count()} CUDA devices here, counted from 0")
    return device


def prepare(pipe: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Move a pipeline to its device, in evaluation mode, with diffusers' own bar off (the harness has one)."""
    pipe.to(device) if pipe.dtype == dtype else pipe.to(device, dtype)
    pipe.set_progress_bar_config(disable=True)
    gc.collect()
    return pipe


def load_published(
    device: torch.device,
    dtype: torch.dtype,
    *,
    name: str,
    family: str,
    hub_id: str,
    revision: str | None,
    path: str | None,
    trained: bool,
    training_length_s: float,
) -> Pipeline:
    """Load published weights from a local folder, or from the hub at a pinned commit. safetensors only, no remote code.

    Raises:
        ValueError: an unknown pipeline family or another than the folder's, a hub revision that is no commit, a folder
            that brings code, a damaged file, or a tokenizer without a vocabulary.
        FileNotFoundError: a local path without model_index.json, or without a part's files.
        ConnectionError: the hub cannot be reached; names what to put where.
    """
    import diffusers

    if family not in FAMILIES:
        raise ValueError(f"pipeline.family {family!r}: accepted are {', '.join(FAMILIES)}")
    if path is not None:
        check_folder(Path(path).expanduser(), family)
    if path is None and not COMMIT.fullmatch(str(revision)):
        raise ValueError(
            f"pipeline.revision {revision!r}: weights are fetched at a pinned commit only; give the 40 hex digits of a "
            f"commit of {hub_id}, or set pipeline.path to a local copy"
        )
    source = str(Path(path).expanduser()) if path else hub_id
    try:
        pipe = getattr(diffusers, family).from_pretrained(
            source,
            revision=None if path else revision,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=path is not None,
        )
    except OSError as error:
        raise _not_loaded(hub_id, revision, path, error) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:  # of a file whose form is right and content not
        raise ValueError(f"cannot load {source} ({_shortened(error)}); {SAVE_AGAIN}") from error
    check_tokenizers(pipe, source)
    repair_pipeline(pipe)
    weights = f"sha256:{hash_weights(Path(source))}" if path else f"{hub_id}@{revision}"
    return Pipeline(name, prepare(pipe, device, dtype), trained, training_length_s, weights)


def _shortened(error: Exception) -> str:
    return textwrap.shorten(f"{type(error).__name__}: {error}", 240)


def _not_loaded(hub_id: str, revision: str | None, path: str | None, error: OSError) -> OSError:
    reason = textwrap.shorten(str(error) or type(error).__name__, 240)
    if path is not None:
        return FileNotFoundError(f"cannot load {path} ({reason}); pipeline.path takes safetensors weights only")
    return ConnectionError(
        f"cannot load {hub_id} at revision {revision} from the hub ({reason}); on a machine with network "
        f"{WHAT_TO_SAVE} and set pipeline.path=FOLDER here"
    )
