"""Spectrogram images for the listening page: one small WebP per clip, named by the audio's hash.

Levels are absolute (dB of full scale), so that the pictures of two methods can be compared by eye.

Shapes: S samples, K STFT frames, B FFT bins, M mel rows, W image columns.
"""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import matplotlib
import numpy as np
import soundfile
from PIL import Image
from scipy import fft
from tqdm import tqdm

from experiments.system.files import whole_file


class Sound(Protocol):
    """A file in a run folder and its sha256: a clip's record, or a reference."""

    @property
    def audio(self) -> str: ...
    @property
    def sha256(self) -> str: ...


FOLDER = "spectrograms"
WIDTH, MEL_ROWS = 640, 80
WINDOW, FRAMES_PER_COLUMN = 1024, 2
FLOOR_DB, CEILING_DB = -90.0, -10.0
COLORMAP, QUALITY = "magma", 70
SETTINGS = (WIDTH, MEL_ROWS, WINDOW, FRAMES_PER_COLUMN, FLOOR_DB, CEILING_DB, COLORMAP, QUALITY)


def image_name(clip: Sound) -> str:
    """Path of a clip's image relative to the run folder: new audio or new settings give a new name."""
    digest = hashlib.sha256(f"{clip.sha256} {SETTINGS}".encode()).hexdigest()
    return f"{FOLDER}/{digest[:20]}.webp"


def write_spectrograms(run_dir: Path, clips: Sequence[Sound]) -> None:
    """Draw the images that are not there yet.

    Raises:
        ValueError: a wav whose content is not what was recorded, or that cannot be read.
    """
    pending = {image_name(clip): clip for clip in clips if not (run_dir / image_name(clip)).exists()}
    if not pending:
        return
    for name, clip in tqdm(pending.items(), desc="spectrograms", unit="clip"):
        samples, sample_rate = read_recorded(run_dir, clip)
        image = spectrogram_image(samples, sample_rate)
        with whole_file(run_dir / name, shared=True) as file:
            image.save(file, format="WEBP", quality=QUALITY, method=2)


def read_recorded(run_dir: Path, clip: Sound) -> tuple[np.ndarray, int]:
    """Samples float32 (S,) and rate of a clip whose file is the one that was recorded."""
    content = (run_dir / clip.audio).read_bytes()
    if hashlib.sha256(content).hexdigest() != clip.sha256:
        raise ValueError(f"{clip.audio}: its content is not what was recorded; delete the file and generate it again")
    try:
        samples, sample_rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(
            f"{clip.audio}: not a readable wav ({error}); delete the file and generate it again"
        ) from error
    return samples.mean(axis=1), sample_rate


def spectrogram_image(samples: np.ndarray, sample_rate: int) -> Image.Image:
    """An RGB image of WIDTH x MEL_ROWS pixels, low frequencies at the bottom."""
    level = (mel_spectrogram_db(samples, sample_rate) - FLOOR_DB) / (CEILING_DB - FLOOR_DB)
    indices = np.round(np.clip(level, 0, 1) * 255).astype(np.uint8)
    table = np.round(matplotlib.colormaps[COLORMAP](np.arange(256))[:, :3] * 255).astype(np.uint8)
    return Image.fromarray(table[indices[::-1]])


def mel_spectrogram_db(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """Power in dB of full scale on mel-spaced rows, (M, W); a full-scale sine at a row's frequency gives 0 dB.

    Args:
        samples: (S,) in [-1, 1]; shorter than one window is padded with silence.
    """
    padded = np.pad(samples, (WINDOW // 2, WINDOW // 2 + max(0, WINDOW - len(samples))))
    starts = np.linspace(0, len(padded) - WINDOW, WIDTH * FRAMES_PER_COLUMN).round().astype(int)
    window = np.hanning(WINDOW).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[starts] * window
    power = (np.abs(fft.rfft(frames, axis=1)) / (window.sum() / 2)) ** 2  # (K, B)
    columns = power.reshape(WIDTH, FRAMES_PER_COLUMN, -1).mean(axis=1)
    bins = mel_frequencies(sample_rate / 2) / sample_rate * WINDOW
    return 10 * np.log10(np.maximum(_rows_at(columns, bins), 1e-12)).T


def mel_frequencies(highest_hz: float) -> np.ndarray:
    """Centre frequencies in Hz of the M rows, equally spaced in mel (O'Shaughnessy) from 50 Hz."""
    low, high = (2595 * np.log10(1 + np.array([50.0, highest_hz]) / 700)).tolist()
    return 700 * (10 ** (np.linspace(low, high, MEL_ROWS) / 2595) - 1)


def _rows_at(columns: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Peak power between neighbouring row centres, so that no partial falls between two rows: (W, B) -> (W, M)."""
    edges = np.concatenate([[bins[0]], (bins[1:] + bins[:-1]) / 2, [bins[-1] + 1]])
    lows, highs = np.floor(edges[:-1]).astype(int), np.ceil(edges[1:]).astype(int)
    return np.stack([columns[:, low:high].max(axis=1) for low, high in zip(lows, highs, strict=True)], axis=1)
