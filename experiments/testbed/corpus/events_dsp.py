"""Signal building blocks of the sound events: noise, resonances, partials, schedules.

Shapes: n samples at SAMPLE_RATE, P partials, K hits. All signals are float64 arrays (n,) of arbitrary level;
corpus.py sets levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, sosfilt

SAMPLE_RATE = 16000
PARTIAL_RANGE_HZ = (120.0, 6800.0)


@dataclass(frozen=True)
class Draw:
    """Where one event of one scene gets its randomness from.

    `constants` is for what stays fixed through the clip (pitch, period, phase, resonance), `schedule` for what
    unfolds in time, `noise` for waveforms: separate streams, so that a longer render keeps its constants.
    About half of the events also begin alike at any length; those that draw hits, noise or a wandering curve do not,
    because the number of draws grows with the length.
    """

    constants: np.random.Generator
    schedule: np.random.Generator
    noise: np.random.Generator
    attributes: Mapping[str, str]

    def pick(self, low: float, high: float, attribute: str | None = None) -> float:
        """Log-uniform clip constant in [low, high]; a named attribute narrows it to the outer 35%."""
        position = self.constants.random()
        word = self.attributes.get(attribute) if attribute else None
        if word in ("slow", "low"):
            position *= 0.35
        elif word in ("fast", "high"):
            position = 0.65 + 0.35 * position
        return float(low * (high / low) ** position)


def hz_to_mel(frequency_hz: np.ndarray | float) -> np.ndarray:
    """HTK mel scale, 2595 log10(1 + f / 700)."""
    return 2595.0 * np.log10(1.0 + np.asarray(frequency_hz) / 700.0)


def mel_to_hz(mel: np.ndarray | float) -> np.ndarray:
    """Inverse of hz_to_mel."""
    return 700.0 * (10.0 ** (np.asarray(mel) / 2595.0) - 1.0)


def seconds(n: int) -> np.ndarray:
    """Time axis (n,) in seconds."""
    return np.arange(n) / SAMPLE_RATE


def white(draw: Draw, n: int) -> np.ndarray:
    """White Gaussian noise (n,); a longer one starts with the shorter one."""
    return draw.noise.standard_normal(n)


def band(signal: np.ndarray, low_hz: float, high_hz: float, order: int = 2) -> np.ndarray:
    """Butterworth band-pass; edges are clipped into (20 Hz, 7.9 kHz)."""
    edges = [max(low_hz, 20.0), min(high_hz, 7900.0)]
    return sosfilt(butter(order, edges, "bandpass", fs=SAMPLE_RATE, output="sos"), signal)


def low_pass(signal: np.ndarray, cutoff_hz: float, order: int = 2) -> np.ndarray:
    """Butterworth low-pass."""
    return sosfilt(butter(order, cutoff_hz, "lowpass", fs=SAMPLE_RATE, output="sos"), signal)


def wander(draw: Draw, n: int, rate_hz: float) -> np.ndarray:
    """Smooth random curve (n,) in about [-1, 1]: uniform knots at rate_hz, linearly joined."""
    knots = draw.schedule.uniform(-1.0, 1.0, int(n / SAMPLE_RATE * rate_hz) + 3)
    return np.interp(seconds(n) * rate_hz, np.arange(len(knots)), knots)


def random_partials(draw: Draw, low: int = 8, high: int = 14) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies (P,) in Hz, uniform on the mel scale, and amplitudes (P,) spread over 15 dB."""
    count = int(draw.constants.integers(low, high + 1))
    edges = hz_to_mel(np.array(PARTIAL_RANGE_HZ))
    frequencies = mel_to_hz(draw.constants.uniform(edges[0], edges[1], count))
    return frequencies, 10.0 ** (draw.constants.uniform(-15.0, 0.0, count) / 20.0)


def harmonics(f0_hz: float, count: int, tilt: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """First `count` harmonics below 7.6 kHz with amplitudes 1 / k**tilt."""
    k = np.arange(1, count + 1)
    k = k[k * f0_hz < 7600.0]
    return k * f0_hz, 1.0 / k**tilt


def tone_bank(
    frequencies_hz: np.ndarray, amplitudes: np.ndarray, n: int, phases: np.ndarray, decays_s: np.ndarray | None = None
) -> np.ndarray:
    """Sum of P sinusoids (n,); with decays_s each falls by 1/e per decay time."""
    t = seconds(n)
    total = np.zeros(n)
    for index, (frequency, amplitude, phase) in enumerate(zip(frequencies_hz, amplitudes, phases, strict=True)):
        partial = np.sin(2 * np.pi * frequency * t + phase)
        if decays_s is not None:
            partial *= np.exp(-t / decays_s[index])
        total += amplitude * partial
    return total


def random_phases(draw: Draw, count: int) -> np.ndarray:
    """Phases (P,) in radians, fixed for the clip."""
    return draw.constants.uniform(0.0, 2 * np.pi, count)


def beats(draw: Draw, n: int, rate_hz: float, jitter: float = 0.02) -> np.ndarray:
    """Hit times (K,) in seconds before n: a fixed period and phase, each hit displaced by jitter x period."""
    period = 1.0 / rate_hz
    # No event may be silent in the shortest span of a "then" scene (about 2 s).
    first = draw.constants.random() * min(period, 0.9)
    count = max(int(np.ceil((n / SAMPLE_RATE - first) / period)), 0)
    times = first + period * (np.arange(count) + jitter * draw.schedule.standard_normal(count))
    return times[(times >= 0) & (times < n / SAMPLE_RATE)]


def arrivals(draw: Draw, n: int, rate_hz: float) -> np.ndarray:
    """Poisson hit times (K,) in seconds before n, the first one within 0.8 s."""
    duration_s = n / SAMPLE_RATE
    gaps = draw.schedule.exponential(1.0 / rate_hz, int(3 * rate_hz * duration_s) + 16)
    gaps[0] = min(gaps[0], 0.8)
    times = np.cumsum(gaps)
    return times[times < duration_s]


def place(hits: list[np.ndarray], times_s: np.ndarray, n: int, gains: np.ndarray | None = None) -> np.ndarray:
    """Adds hit k % len(hits) at each time, cut at n samples."""
    out = np.zeros(n)
    for k, time in enumerate(times_s):
        start = int(time * SAMPLE_RATE)
        hit = hits[k % len(hits)][: n - start]
        out[start : start + len(hit)] += hit if gains is None else gains[k] * hit
    return out


def hit_gains(draw: Draw, count: int, spread_db: float = 2.0) -> np.ndarray:
    """Gains (K,) with a normal spread in dB."""
    return 10.0 ** (spread_db * draw.schedule.standard_normal(count) / 20.0)


def gate(n: int, rate_hz: float, phase: float, duty: float, edge_s: float = 0.01) -> np.ndarray:
    """Periodic on/off envelope (n,) in [0, 1]: on for `duty` of each period, with edges of edge_s."""
    period = 1.0 / rate_hz
    position = (seconds(n) + phase * period) % period
    return np.clip(np.minimum(position, duty * period - position) / edge_s, 0.0, 1.0)


def swept(frequency_hz: np.ndarray) -> np.ndarray:
    """Phase (n,) in radians of an instantaneous frequency (n,)."""
    return 2 * np.pi * np.cumsum(frequency_hz) / SAMPLE_RATE


def bump(n: int) -> np.ndarray:
    """Half-sine envelope (n,)."""
    return np.sin(np.pi * (np.arange(n) + 0.5) / max(n, 1))
