"""Sounds made of partials: drones, struck and gated instruments, alarms.

Most of them carry *random persistent partials*: frequencies and levels that are fixed for the clip, that no
caption names, and that only the same frequency elsewhere in the clip reveals.
"""

from __future__ import annotations

import numpy as np

from experiments.testbed.corpus.events_dsp import (
    SAMPLE_RATE,
    Draw,
    arrivals,
    band,
    beats,
    gate,
    harmonics,
    hit_gains,
    place,
    random_partials,
    random_phases,
    seconds,
    swept,
    tone_bank,
    wander,
    white,
)


def _steady(draw: Draw, n: int, low: int = 8, high: int = 14) -> np.ndarray:
    frequencies, amplitudes = random_partials(draw, low, high)
    return tone_bank(frequencies, amplitudes, n, random_phases(draw, len(frequencies)))


def _struck(draw: Draw, decay_s: tuple[float, float], low: int = 8, high: int = 14) -> np.ndarray:
    frequencies, amplitudes = random_partials(draw, low, high)
    decays = draw.constants.uniform(*decay_s, len(frequencies))
    length = int(4.0 * decay_s[1] * SAMPLE_RATE)
    hit = tone_bank(frequencies, amplitudes, length, random_phases(draw, len(frequencies)), decays)
    hit[:32] *= np.linspace(0.0, 1.0, 32)
    return hit


def drone(draw: Draw, n: int) -> np.ndarray:
    """Synthesizer: steady random partials, level swaying slowly."""
    return _steady(draw, n) * (1.0 + 0.15 * wander(draw, n, 0.7))


def bowl(draw: Draw, n: int) -> np.ndarray:
    """Singing bowl: few steady partials that pulse together."""
    rate = draw.pick(0.5, 4.0, "rate")
    phase = draw.constants.random()
    pulse = 0.5 + 0.5 * np.cos(2 * np.pi * (rate * seconds(n) + phase))
    return _steady(draw, n, 5, 8) * (0.1 + 0.9 * pulse)


def gong(draw: Draw, n: int) -> np.ndarray:
    """Gong: dense random partials struck periodically, ringing into the next stroke."""
    rate = draw.pick(0.4, 1.1, "rate")
    times = beats(draw, n, rate)
    return place([_struck(draw, (0.35, 0.9), 10, 16)], times, n, hit_gains(draw, len(times), 1.0))


def church_bell(draw: Draw, n: int) -> np.ndarray:
    """Church bell: hum, prime, tierce, quint, nominal... of a random strike note."""
    strike = draw.pick(220.0, 900.0)
    ratios = np.array([0.5, 1.0, 1.19, 1.5, 2.0, 2.51, 3.01, 4.17, 5.4])
    ratios = ratios[ratios * strike < 7000.0] * draw.constants.uniform(0.985, 1.015, (ratios * strike < 7000.0).sum())
    amplitudes = 10.0 ** (draw.constants.uniform(-12.0, 0.0, len(ratios)) / 20.0)
    decays = 0.8 / np.sqrt(ratios)
    hit = tone_bank(ratios * strike, amplitudes, 2 * SAMPLE_RATE, random_phases(draw, len(ratios)), decays)
    hit[:800] += 0.3 * white(draw, 800) * np.exp(-np.arange(800) / 150.0)
    times = beats(draw, n, draw.pick(0.5, 1.3, "rate"))
    return place([hit], times, n, hit_gains(draw, len(times), 1.0))


def chimes(draw: Draw, n: int) -> np.ndarray:
    """Wind chimes: five tubes of fixed random pitch, hit in random order."""
    tubes = []
    for frequency in np.sort(draw.constants.uniform(900.0, 4200.0, 5)):
        pair = np.array([frequency, 2.76 * frequency])
        pair = pair[pair < 7400.0]
        amplitudes = np.array([1.0, 0.35])[: len(pair)]
        tubes.append(tone_bank(pair, amplitudes, SAMPLE_RATE, np.zeros(len(pair)), np.full(len(pair), 0.25)))
    times = arrivals(draw, n, draw.pick(1.2, 6.0, "rate"))
    order = draw.schedule.integers(0, len(tubes), len(times))
    gains = hit_gains(draw, len(times), 4.0)
    out = np.zeros(n)
    for tube in range(len(tubes)):
        out += place([tubes[tube]], times[order == tube], n, gains[order == tube])
    return out


def music_box(draw: Draw, n: int) -> np.ndarray:
    """Music box: a fixed phrase of four random pitches, plucked and repeated."""
    notes = []
    for semitone in draw.constants.integers(0, 24, 4):
        frequency = 520.0 * 2.0 ** (semitone / 12.0)
        partials = np.array([1.0, 3.0, 5.4]) * frequency
        partials = partials[partials < 7400.0]
        amplitudes = np.array([1.0, 0.4, 0.25])[: len(partials)]
        decays = np.array([0.25, 0.12, 0.08])[: len(partials)]
        notes.append(tone_bank(partials, amplitudes, SAMPLE_RATE, np.zeros(len(partials)), decays))
    times = beats(draw, n, draw.pick(1.6, 6.0, "rate"), 0.01)
    return place(notes, times, n)


def strings(draw: Draw, n: int) -> np.ndarray:
    """Guitar: one fixed chord of four random strings, strummed periodically."""
    length = 2 * SAMPLE_RATE
    hit = np.zeros(length)
    for string in range(4):
        frequencies, amplitudes = harmonics(draw.pick(130.0, 800.0), 8, 0.7)
        decays = 0.5 / (1.0 + 0.35 * np.arange(len(frequencies)))
        note = tone_bank(frequencies, amplitudes, length, random_phases(draw, len(frequencies)), decays)
        delay = int(0.015 * string * SAMPLE_RATE)
        hit[delay:] += note[: length - delay]
    times = beats(draw, n, draw.pick(0.5, 2.2, "rate"))
    return place([hit], times, n, hit_gains(draw, len(times), 1.0))


def organ(draw: Draw, n: int) -> np.ndarray:
    """Organ: one chord of three random roots, held and released periodically."""
    out = np.zeros(n)
    for _ in range(3):
        frequencies, amplitudes = harmonics(draw.pick(110.0, 700.0), 6, 0.8)
        out += tone_bank(frequencies, amplitudes, n, random_phases(draw, len(frequencies)))
    rate = draw.pick(0.4, 1.6, "rate")
    return out * gate(n, rate, draw.constants.random(), 0.5, 0.03)


def hum(draw: Draw, n: int) -> np.ndarray:
    """Electric transformer: harmonics of a low pitch, levels random and steady, a little hiss."""
    f0 = draw.pick(90.0, 180.0)
    frequencies, _ = harmonics(f0, 24)
    amplitudes = 10.0 ** (draw.constants.uniform(-24.0, 0.0, len(frequencies)) / 20.0)
    tone = tone_bank(frequencies, amplitudes, n, random_phases(draw, len(frequencies)))
    return tone + 0.02 * white(draw, n)


def turbine(draw: Draw, n: int) -> np.ndarray:
    """Turbine: steady random whines over broadband air noise."""
    return _steady(draw, n, 4, 8) + 0.6 * band(white(draw, n), 300.0, 5000.0, 1)


def beeper(draw: Draw, n: int) -> np.ndarray:
    """Alarm clock: beeps of a random pitch and its harmonics with silent gaps."""
    frequencies, amplitudes = harmonics(draw.pick(500.0, 2600.0), 3, 1.0)
    amplitudes = amplitudes * draw.constants.uniform(0.4, 1.0, len(amplitudes))
    rate = draw.pick(0.8, 5.0, "rate")
    envelope = gate(n, rate, draw.constants.random(), draw.constants.uniform(0.25, 0.45), 0.004)
    return tone_bank(frequencies, amplitudes, n, random_phases(draw, len(frequencies))) * envelope


def telephone(draw: Draw, n: int) -> np.ndarray:
    """Telephone: two random partials warbling at about 20 Hz, ringing in a fixed cadence."""
    low = draw.pick(400.0, 1100.0)
    pair = np.array([low, low * draw.constants.uniform(1.2, 1.6), 2.9 * low])
    warble = 0.6 + 0.4 * np.sign(np.sin(2 * np.pi * draw.pick(14.0, 26.0) * seconds(n)))
    envelope = gate(n, draw.pick(0.4, 1.0, "rate"), draw.constants.random(), 0.5, 0.01)
    return tone_bank(pair, np.array([1.0, 0.8, 0.3]), n, random_phases(draw, 3)) * warble * envelope


def siren(draw: Draw, n: int) -> np.ndarray:
    """Siren: three harmonics rising and falling at a fixed period."""
    centre = draw.pick(450.0, 1500.0, "pitch")
    rate = draw.pick(0.2, 1.2, "rate")
    phase = draw.constants.random()
    sweep = centre * 1.45 ** np.sin(2 * np.pi * (rate * seconds(n) + phase))
    angle = swept(sweep)
    return np.sin(angle) + 0.5 * np.sin(2 * angle) + 0.25 * np.sin(3 * angle)
