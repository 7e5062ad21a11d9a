"""Named protocols. Every result carries the name of the one that produced it.

``strict`` is this package's own; the others reproduce what a public tool or paper does with embeddings, windows and
formulas, from that tool's code. Two things are never reproduced, whatever the preset: drawing crops without a seed
and scoring a partial set silently. The resampler is always the one in ``resample.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from evaluation.embedding.preprocessing import Preprocessing
from evaluation.metrics.clap_score import SEVERAL_CAPTIONS, SeveralCaptions
from evaluation.metrics.kl import Direction, Pooling

# Which features: of frames, of a classifier, of audio and text alike, or a name that a user's own metric gives.
Role = str
ROLES = ("frames", "classifier", "text")
_STRICT_METRICS = (
    "fad", "fad_pooled", "fd", "kad", "kl", "clap", "clap_worst_window", "consistency", "repetition", "level",
    "silence",
)  # fmt: skip


@dataclass(frozen=True)
class Preset:
    """A protocol.

    Attributes:
        name: goes into every result.
        description: one line: whose protocol it is and where it departs.
        version: counts up with every change that may change a number; goes into every result.
        embedders: which network fills each role, by its name in ``embedders.build``; one left out must be
            handed over.
        metrics: computed unless others are asked for.
        generated: preprocessing of the generated clips.
        reference: preprocessing of the reference clips.
        crop_seeds: seeds of the random window, one score each; used with ``cut="random"`` only.
        reference_windows: "first" compares every window with the reference's first one; "aligned" compares window k
            with window k of a reference of equal length.
        kl_direction, kl_eps, kl_pooling: see ``evaluation.metrics.kl``.
        is_splits: parts of the inception score.
        candidates: clips of a prompt among which the one that CLAP likes best counts; 1 counts every clip.
        several_captions: which of a clip's captions counts for CLAP; None where a clip has one.
        paired: whether each clip has a reference of its own; False compares two sets with each other.
    """

    name: str
    description: str
    version: int = field(default=1, kw_only=True)
    embedders: Mapping[Role, str] = field(default_factory=dict)
    metrics: tuple[str, ...] = _STRICT_METRICS
    generated: Preprocessing = field(default_factory=Preprocessing)
    reference: Preprocessing = field(default_factory=lambda: Preprocessing(cut="first", allow_short=True))
    crop_seeds: tuple[int, ...] = (0,)
    reference_windows: Literal["first", "aligned"] = "first"
    kl_direction: Direction = "reference_to_generated"
    kl_eps: float | None = None
    kl_pooling: Pooling = "mean_of_windows"
    is_splits: int = 10
    candidates: int = 1
    paired: bool = True
    several_captions: SeveralCaptions | None = None

    def preprocessing(self, side: Literal["generated", "reference"], role: Role | None) -> Preprocessing:
        """How files of one side are prepared for a role; CLAP takes its first window where others take the clip."""
        chosen = self.generated if side == "generated" else self.reference
        if role == "text" and chosen.cut == "whole":
            return replace(_FIRST, window_s=chosen.window_s, duration_s=chosen.duration_s)
        return chosen

    def with_window(self, window_s: float) -> Preset:
        """The same protocol with windows of another length (the model's training length)."""
        before = self.generated.window_s
        said = "" if window_s == before else f"; windows of {window_s:g} s, not {before:g} s"
        return replace(
            self,
            description=self.description + said,
            generated=replace(self.generated, window_s=window_s),
            reference=replace(self.reference, window_s=window_s),
        )

    def with_duration(self, duration_s: float) -> Preset:
        """The same protocol on generated clips trimmed to exactly ``duration_s``."""
        return replace(self, generated=replace(self.generated, duration_s=duration_s))

    def with_aligned_references(self) -> Preset:
        """The same protocol on references that are as long as the generated clips, window against window.

        Raises:
            ValueError: the sets are not paired.
        """
        if not self.paired:
            raise ValueError("aligned_references needs a reference for each clip; leave it out, or paired=false")
        reference = replace(self.reference, cut=self.generated.cut, allow_short=False)
        return replace(self, reference=reference, reference_windows="aligned")

    def with_several_captions(self, choice: SeveralCaptions) -> Preset:
        """The same protocol on clips that may have several captions. ValueError for an unknown choice."""
        if choice not in SEVERAL_CAPTIONS:
            raise ValueError(f"several_captions={choice!r}; accepted are {', '.join(SEVERAL_CAPTIONS)}")
        return replace(self, several_captions=choice)

    def without_pairs(self) -> Preset:
        """The same protocol on a set of references that has nothing to do with single clips: a background set."""
        return replace(self, paired=False)


_WHOLE = Preprocessing(cut="whole", mono="first", remove_dc=True, pad_to_s=2.0)
_PASST = Preprocessing(cut="first", allow_short=True, mono="first", remove_dc=True)
_TANGO = Preprocessing(cut="whole", pad_to_s=2.0)
_FIRST = Preprocessing(cut="first", allow_short=True)
_EIGHT = Preprocessing(cut="first", window_s=8.0, allow_short=True, remove_dc=True, pad_to_s=8.0)
_STABLE = Preprocessing(cut="overlapping", level="peak")
_CLASSIC: dict[Role, str] = {"frames": "vggish", "classifier": "cnn14_16k", "text": "clap_laion"}
_CLASSIC_METRICS = ("fad", "fd", "kl", "is")
_TESTBED_METRICS = (
    "fad", "kad", "kl_bernoulli", "clap", "hit_rate", "exact_set_rate", "consistency", "repetition", "level", "silence",
)  # fmt: skip

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "strict",
            "this package's default: aligned 10 s windows against 10 s references, exact formulas",
            {"frames": "vggish", "classifier": "cnn14_16k", "text": "clap"},
        ),
        Preset(
            "published",
            "FAD and CLAP through the packages frechet-audio-distance and laion-clap; first 10 s of each clip",
            {"frames": "package_vggish", "text": "package_clap"},
            metrics=("fad", "clap"),
            generated=_FIRST,
            reference=_FIRST,
        ),
        Preset(
            "audioldm",
            "audioldm_eval 8dc07ee: whole clip, first channel, DC removed, KL with eps 1e-6; soxr, not torchaudio",
            _CLASSIC,
            metrics=_CLASSIC_METRICS,
            generated=_WHOLE,
            reference=_WHOLE,
            kl_eps=1e-6,
        ),
        Preset(
            "audioldm2",
            "AudioLDM 2, by its author's account (its issue 76): the best of 3 clips of a prompt by CLAP, LAION's music"
            " and speech checkpoint, KL and IS by PaSST on the first 10 s (audioldm_eval, branch passt_replace_panns)",
            {"frames": "vggish", "classifier": "package_passt", "text": "clap_music_speech"},
            metrics=("fad", "kl", "is", "clap"),
            generated=_PASST,
            reference=_PASST,
            kl_eps=1e-6,
            candidates=3,
        ),
        Preset(
            "tango",
            "Tango's copy of audioldm_eval: whole clip, channel mean; soxr, not resampy",
            _CLASSIC,
            metrics=_CLASSIC_METRICS,
            generated=_TANGO,
            reference=_TANGO,
            kl_eps=1e-6,
        ),
        Preset(
            "av-benchmark",
            "av-benchmark 050a5cd, its metrics of audio: first 8 s or padded to them, DC removed, exact KL by PaSST, FD"
            " by PaSST and PANNs (fad_on_cnn14_16k), CLAP by LAION's music and speech checkpoint and by MS-CLAP on the"
            " first 7 s; soxr, not torchaudio",
            {
                "frames": "vggish",
                "classifier": "package_passt",
                "cnn14_16k": "cnn14_16k",
                "text": "clap_music_speech",
                "ms_clap": "ms_clap",
            },
            metrics=("fad", "fd", "fad_on_cnn14_16k", "kl", "is", "clap", "clap_on_ms_clap"),
            version=2,
            generated=_EIGHT,
            reference=_EIGHT,
        ),
        Preset(
            "stable-audio",
            "stable-audio-metrics: 10 s windows every 5 s, peak at -1 dB, KL(generated, reference) of mean logits by"
            " PaSST; CLAP by windows instead of fusion, no OpenL3",
            {"classifier": "package_passt", "text": "clap"},
            metrics=("kl", "clap"),
            version=2,
            generated=replace(_STABLE, allow_short=True),
            reference=replace(_STABLE, allow_short=True),
            kl_direction="generated_to_reference",
            kl_eps=1e-6,
            kl_pooling="mean_logits",
        ),
        Preset(
            "litefocus",
            "LiteFocus (arXiv 2407.10468): one random 10 s crop per clip, here seeded and over 5 seeds, as audioldm",
            {"frames": "vggish", "classifier": "cnn14_16k", "text": "clap"},
            metrics=("fad", "kl", "clap"),
            generated=replace(_WHOLE, cut="random"),
            reference=replace(_WHOLE, cut="first", allow_short=True),
            crop_seeds=(0, 1, 2, 3, 4),
            kl_eps=1e-6,
        ),
        Preset(
            "testbed",
            "strict, with the judges of this repository's testbed, whose classes are independent (Bernoulli KL), and"
            " the prompts' events as labels: evidence about that model only",
            metrics=_TESTBED_METRICS,
        ),
    )
}


def find_preset(name: str) -> Preset:
    """The preset of that name, or a ValueError that lists the names."""
    if not isinstance(name, str) or name not in PRESETS:
        raise ValueError(f"preset {name!r}; give one of {', '.join(PRESETS)}")
    return PRESETS[name]
