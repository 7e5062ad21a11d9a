"""Sounds made of noise, impacts and voices: weather, machines, steps, animals, speech-like sounds."""

from __future__ import annotations

import numpy as np

from experiments.testbed.corpus.events_dsp import (
    SAMPLE_RATE,
    Draw,
    arrivals,
    band,
    beats,
    bump,
    hit_gains,
    low_pass,
    place,
    seconds,
    swept,
    tone_bank,
    wander,
    white,
)


def _noise_hit(draw: Draw, duration_s: float, low_hz: float, high_hz: float, decay_s: float) -> np.ndarray:
    n = int(duration_s * SAMPLE_RATE)
    return band(white(draw, n), low_hz, high_hz, 1) * np.exp(-seconds(n) / decay_s)


def _voiced(f0_hz: np.ndarray, formants_hz: tuple[float, ...], envelope: np.ndarray) -> np.ndarray:
    angle = swept(f0_hz)
    source = np.zeros(len(angle))
    for k in range(1, 24):
        level = sum(1.0 / (1.0 + ((k * f0_hz.mean() - formant) / 160.0) ** 2) for formant in formants_hz)
        if k * f0_hz.max() < 7600.0:
            source += (level + 0.05) / k**0.5 * np.sin(k * angle)
    return source * envelope


def rain(draw: Draw, n: int) -> np.ndarray:
    """Steady hiss with a fixed tilt and dense fine drops."""
    hiss = band(white(draw, n), draw.pick(600.0, 1500.0), 7500.0, 1)
    drops = (draw.noise.random(n) < 0.004) * white(draw, n) * 6.0
    return hiss + band(drops, 2000.0, 7000.0, 1)


def applause(draw: Draw, n: int) -> np.ndarray:
    """Many claps a second, each a short mid-band burst."""
    claps = (draw.noise.random(n) < 90.0 / SAMPLE_RATE) * draw.noise.uniform(0.3, 1.0, n)
    burst = _noise_hit(draw, 0.02, 700.0, 3000.0, 0.005)
    return np.convolve(claps, burst)[:n] + 0.08 * band(white(draw, n), 600.0, 3500.0, 1) * burst.std()


def wind(draw: Draw, n: int) -> np.ndarray:
    """Low noise in slow gusts."""
    gust = 0.55 + 0.45 * wander(draw, n, 0.8)
    rush = band(white(draw, n), 80.0, draw.pick(350.0, 900.0), 1)
    return rush * gust**2 + 0.15 * band(white(draw, n), 500.0, 1500.0, 1) * gust**4


def thunder(draw: Draw, n: int) -> np.ndarray:
    """Rolling low bursts, each with a crack and a long tail."""
    length = int(2.6 * SAMPLE_RATE)
    t = seconds(length)
    hits = []
    for _ in range(3):
        crack = band(white(draw, length), 150.0, 5000.0, 1) * np.exp(-t / 0.18)
        roll = low_pass(white(draw, length), 220.0) * 3.0 * np.exp(-t / 0.8)
        hits.append((crack + roll) * np.minimum(t / 0.02, 1.0))
    return place(hits, arrivals(draw, n, 0.4), n)


def helicopter(draw: Draw, n: int) -> np.ndarray:
    """Low noise chopped by the rotor."""
    rate = draw.pick(7.0, 18.0, "rate")
    chop = (0.5 + 0.5 * np.sin(2 * np.pi * (rate * seconds(n) + draw.constants.random()))) ** 4
    return low_pass(white(draw, n), draw.pick(500.0, 1300.0)) * (0.1 + chop)


def engine(draw: Draw, n: int) -> np.ndarray:
    """Idling motor: harmonics of the firing rate with fixed resonances and uneven strokes."""
    f0 = draw.pick(28.0, 95.0, "pitch")
    frequency = f0 * (1.0 + 0.03 * wander(draw, n, 1.5))
    angle = swept(frequency)
    pulse = np.exp(6.0 * (np.cos(angle) - 1.0)) + 0.4 * np.exp(6.0 * (np.cos(angle / 2.0) - 1.0))
    resonance = draw.pick(250.0, 900.0)
    return band(pulse * (1.0 + 0.3 * white(draw, n)), 40.0, 2.5 * resonance, 1)


def footsteps(draw: Draw, n: int) -> np.ndarray:
    """Two alternating soft thuds with grit at a walking or running pace."""
    centre = draw.pick(180.0, 700.0)
    hits = [
        _noise_hit(draw, 0.18, centre * g, centre * g * 2.5, 0.03) * 2.0
        + 0.4 * _noise_hit(draw, 0.18, 2500.0, 6000.0, 0.05)
        for g in (1.0, 1.15)
    ]
    times = beats(draw, n, draw.pick(1.1, 3.6, "rate"), 0.03)
    return place(hits, times, n, hit_gains(draw, len(times)))


def knocking(draw: Draw, n: int) -> np.ndarray:
    """Groups of three knocks on wood with a fixed resonance, then a pause."""
    resonance = draw.pick(300.0, 900.0)
    length = int(0.12 * SAMPLE_RATE)
    modes = np.array([1.0, 1.7, 2.9]) * resonance
    hit = tone_bank(modes, np.array([1.0, 0.6, 0.3]), length, np.zeros(3), np.full(3, 0.018))
    hit[:160] += 0.5 * white(draw, 160)
    rate = draw.pick(0.45, 1.1, "rate")
    groups = beats(draw, n, rate)
    times = (groups[:, None] + np.arange(3) * 0.18 / rate**0.5).ravel()
    times = times[times < n / SAMPLE_RATE]
    return place([hit], times, n, hit_gains(draw, len(times)))


def hammer(draw: Draw, n: int) -> np.ndarray:
    """Hammer on metal: bright inharmonic modes of fixed random pitch."""
    modes = draw.pick(700.0, 1900.0) * np.array([1.0, 1.58, 2.24, 2.92, 3.6])
    modes = modes[modes < 7600.0]
    count = len(modes)
    length = int(0.5 * SAMPLE_RATE)
    amplitudes = draw.constants.uniform(0.3, 1.0, count)
    hit = tone_bank(modes, amplitudes, length, np.zeros(count), draw.constants.uniform(0.04, 0.13, count))
    hit[:240] += white(draw, 240) * np.linspace(1.0, 0.0, 240)
    times = beats(draw, n, draw.pick(0.9, 3.2, "rate"), 0.03)
    return place([hit], times, n, hit_gains(draw, len(times)))


def dog(draw: Draw, n: int) -> np.ndarray:
    """Barks: short voiced bursts whose pitch arches, of a fixed voice."""
    length = int(0.17 * SAMPLE_RATE)
    f0 = draw.pick(220.0, 700.0, "pitch") * (0.8 + 0.35 * bump(length))
    hit = _voiced(f0, (draw.pick(700.0, 1100.0), 1900.0), bump(length) ** 0.6)
    hit += 0.25 * hit.std() * band(white(draw, length), 500.0, 5000.0, 1) * bump(length)
    times = beats(draw, n, draw.pick(0.8, 3.2, "rate"), 0.08)
    return place([hit], times, n, hit_gains(draw, len(times)))


def bird(draw: Draw, n: int) -> np.ndarray:
    """Chirps: a fixed two-syllable whistle repeated."""
    base = draw.pick(2000.0, 4800.0, "pitch")
    hits = []
    for _ in range(2):
        length = int(draw.constants.uniform(0.07, 0.14) * SAMPLE_RATE)
        ends = base * draw.constants.uniform(0.75, 1.35, 2)
        hits.append(np.sin(swept(np.geomspace(ends[0], ends[1], length))) * bump(length))
    times = beats(draw, n, draw.pick(1.2, 6.0, "rate"), 0.06)
    return place(hits, times, n, hit_gains(draw, len(times), 3.0))


def crickets(draw: Draw, n: int) -> np.ndarray:
    """A steady high whistle in fast pulses, grouped into chirps."""
    pitch = draw.pick(3200.0, 6200.0, "pitch")
    rate = draw.pick(0.9, 3.5, "rate")
    t = seconds(n)
    pulses = np.clip(np.sin(2 * np.pi * draw.pick(22.0, 38.0) * t), 0.0, None)
    groups = (t * rate + draw.constants.random()) % 1.0 < 0.55
    return np.sin(2 * np.pi * pitch * t) * pulses * groups


def frog(draw: Draw, n: int) -> np.ndarray:
    """Croaks: pulsed low-pitched resonance."""
    length = int(0.35 * SAMPLE_RATE)
    formant = draw.pick(350.0, 1400.0, "pitch")
    t = seconds(length)
    pulses = np.exp(8.0 * (np.cos(2 * np.pi * draw.pick(28.0, 55.0) * t) - 1.0))
    hit = (np.sin(2 * np.pi * formant * t) + 0.5 * np.sin(4 * np.pi * formant * t)) * pulses * bump(length)
    times = beats(draw, n, draw.pick(0.5, 1.8, "rate"), 0.04)
    return place([hit], times, n, hit_gains(draw, len(times)))


_VOWELS = ((730.0, 1090.0, 2440.0), (530.0, 1840.0, 2480.0), (270.0, 2290.0, 3010.0), (300.0, 870.0, 2240.0))


def _speech(draw: Draw, n: int, low_hz: float, high_hz: float, scale: float) -> np.ndarray:
    f0 = draw.pick(low_hz, high_hz)
    rate = draw.pick(1.8, 5.0, "rate")
    length = int(0.75 / rate * SAMPLE_RATE)
    hits = []
    for vowel in _VOWELS:
        contour = f0 * (1.0 + draw.constants.uniform(-0.15, 0.15) + 0.12 * bump(length))
        hits.append(_voiced(contour, tuple(scale * f for f in vowel), bump(length) ** 0.5))
    times = beats(draw, n, rate, 0.06)
    times = times[draw.schedule.random(len(times)) < 0.85]
    order = draw.schedule.permutation(len(times))
    breath = 0.15 * hits[0].std() * _noise_hit(draw, 0.08, 3000.0, 7000.0, 0.03)
    voiced = sum(place([hits[v]], times[order % 4 == v], n) for v in range(4))
    return np.asarray(voiced) + place([breath], times, n)


def man(draw: Draw, n: int) -> np.ndarray:
    """Syllables of a low voice."""
    return _speech(draw, n, 85.0, 140.0, 1.0)


def woman(draw: Draw, n: int) -> np.ndarray:
    """Syllables of a high voice."""
    return _speech(draw, n, 190.0, 290.0, 1.17)
