"""The sound events of the testbed: what each is called, how it is rendered, which attributes it can have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from experiments.testbed.corpus import events_noise as noise
from experiments.testbed.corpus import events_tonal as tonal
from experiments.testbed.corpus.events_dsp import Draw

LEVEL = ("level",)
LEVEL_RATE = ("level", "rate")
LEVEL_RATE_PITCH = ("level", "rate", "pitch")


@dataclass(frozen=True)
class Event:
    """One kind of sound.

    `partials`: it carries random persistent partials. `kind`: "texture" covers others, "transient" is sparse;
    a transient under a texture is mixed 6 dB louder. `clauses`: (subject, verb, gerund) triples, first the
    plain one, then a synonym; captions.py builds phrasings from them.
    """

    name: str
    group: str
    render: Callable[[Draw, int], np.ndarray]
    attributes: tuple[str, ...]
    kind: str
    partials: bool
    clauses: tuple[tuple[str, str, str], ...]


EVENTS: tuple[Event, ...] = (
    Event("rain", "weather", noise.rain, LEVEL, "texture", False,
          (("rain", "falls", "falling"), ("a shower", "pours", "pouring"))),
    Event("wind", "weather", noise.wind, LEVEL, "texture", False,
          (("wind", "blows", "blowing"), ("a breeze", "gusts", "gusting"))),
    Event("thunder", "weather", noise.thunder, LEVEL, "tonal", False,
          (("thunder", "rumbles", "rumbling"), ("a storm", "roars", "roaring"))),
    Event("applause", "weather", noise.applause, LEVEL, "texture", False,
          (("an audience", "applauds", "applauding"), ("a crowd", "claps", "clapping"))),
    Event("dog", "animals", noise.dog, LEVEL_RATE_PITCH, "transient", False,
          (("a dog", "barks", "barking"), ("a hound", "yaps", "yapping"))),
    Event("bird", "animals", noise.bird, LEVEL_RATE_PITCH, "transient", False,
          (("a bird", "chirps", "chirping"), ("a sparrow", "sings", "singing"))),
    Event("crickets", "animals", noise.crickets, LEVEL_RATE_PITCH, "tonal", False,
          (("a cricket", "trills", "trilling"), ("an insect", "buzzes", "buzzing"))),
    Event("frog", "animals", noise.frog, LEVEL_RATE_PITCH, "transient", False,
          (("a frog", "croaks", "croaking"), ("a toad", "calls", "calling"))),
    Event("engine", "machines", noise.engine, ("level", "pitch"), "texture", False,
          (("an engine", "idles", "idling"), ("a motor", "runs", "running"))),
    Event("helicopter", "machines", noise.helicopter, LEVEL_RATE, "texture", False,
          (("a helicopter", "hovers", "hovering"), ("a rotor", "chops", "chopping"))),
    Event("turbine", "machines", tonal.turbine, LEVEL, "texture", True,
          (("a turbine", "whines", "whining"), ("a jet", "whirs", "whirring"))),
    Event("transformer", "machines", tonal.hum, LEVEL, "tonal", True,
          (("a transformer", "hums", "humming"), ("a power line", "drones", "droning"))),
    Event("church_bell", "bells", tonal.church_bell, LEVEL_RATE, "tonal", True,
          (("a church bell", "tolls", "tolling"), ("a tower bell", "peals", "pealing"))),
    Event("gong", "bells", tonal.gong, LEVEL_RATE, "tonal", True,
          (("a gong", "sounds", "sounding"), ("a cymbal", "crashes", "crashing"))),
    Event("wind_chimes", "bells", tonal.chimes, LEVEL_RATE, "transient", True,
          (("a wind chime", "tinkles", "tinkling"), ("a set of chimes", "jingles", "jingling"))),
    Event("singing_bowl", "bells", tonal.bowl, LEVEL_RATE, "tonal", True,
          (("a singing bowl", "pulses", "pulsing"), ("a glass bowl", "throbs", "throbbing"))),
    Event("telephone", "alarms", tonal.telephone, LEVEL_RATE, "tonal", True,
          (("a telephone", "rings", "ringing"), ("a phone", "warbles", "warbling"))),
    Event("alarm_clock", "alarms", tonal.beeper, LEVEL_RATE, "tonal", True,
          (("an alarm clock", "beeps", "beeping"), ("a timer", "bleeps", "bleeping"))),
    Event("siren", "alarms", tonal.siren, LEVEL_RATE_PITCH, "tonal", False,
          (("a siren", "wails", "wailing"), ("an ambulance", "howls", "howling"))),
    Event("footsteps", "impacts", noise.footsteps, LEVEL_RATE, "transient", False,
          (("a person", "walks", "walking"), ("a pair of feet", "steps", "stepping"))),
    Event("knocking", "impacts", noise.knocking, LEVEL_RATE, "transient", False,
          (("a visitor", "knocks", "knocking"), ("a fist", "raps", "rapping"))),
    Event("hammer", "impacts", noise.hammer, LEVEL_RATE, "transient", False,
          (("a hammer", "strikes", "striking"), ("a blacksmith", "pounds", "pounding"))),
    Event("man_speaking", "speech", noise.man, LEVEL_RATE, "tonal", False,
          (("a man", "speaks", "speaking"), ("a male voice", "talks", "talking"))),
    Event("woman_speaking", "speech", noise.woman, LEVEL_RATE, "tonal", False,
          (("a woman", "speaks", "speaking"), ("a female voice", "talks", "talking"))),
    Event("synthesizer", "musical", tonal.drone, LEVEL, "tonal", True,
          (("a synthesizer", "plays", "playing"), ("a synth", "holds", "holding"))),
    Event("organ", "musical", tonal.organ, LEVEL_RATE, "tonal", True,
          (("an organ", "plays", "playing"), ("an accordion", "swells", "swelling"))),
    Event("music_box", "musical", tonal.music_box, LEVEL_RATE, "transient", True,
          (("a music box", "plays", "playing"), ("a toy piano", "plinks", "plinking"))),
    Event("strings", "musical", tonal.strings, LEVEL_RATE, "tonal", True,
          (("a guitar", "strums", "strumming"), ("a harp", "plucks", "plucking"))),
)  # fmt: skip
EVENT_NAMES: tuple[str, ...] = tuple(event.name for event in EVENTS)
BY_NAME: dict[str, Event] = {event.name: event for event in EVENTS}
