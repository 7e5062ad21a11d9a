"""The CLAP judge: transformers' ClapModel (an HTSAT audio tower, a RoBERTa text tower), small, at 16 kHz.

Shapes: B clips or captions, S samples, E events, D embedding. The front end is ClapFeatureExtractor's, computed
by evaluation.embedders. CLAP: Wu et al. 2023; HTSAT: Chen et al. 2022.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, RobertaTokenizer

from evaluation.embedders.networks.clap import MAX_TOKENS, repeat_pad
from evaluation.embedders.spectrogram import log_mel_db, slaney_filters
from experiments.testbed.corpus.scenes import EVENT_NAMES, SAMPLE_RATE, Scene
from experiments.testbed.models.judges_data import event_labels

WINDOW_S = 5.12
WINDOW_SAMPLES = 81920
EMBEDDING_SIZE = 128
# 255 frames of a window fit the audio tower's 256; its 128 x 128 image is two halves of the clip, stacked.
FRONT_END = {
    "feature_size": 64, "sampling_rate": SAMPLE_RATE, "hop_length": 322, "fft_window_size": 1024,
    "max_length_s": WINDOW_S, "frequency_min": 50, "frequency_max": 8000, "truncation": "rand_trunc",
    "padding": "repeatpad",
}  # fmt: skip


def clap_config(tokenizer: RobertaTokenizer, width: int = 64) -> ClapConfig:
    """A small unfused CLAP without dropout: three audio stages, the last one attending to the whole clip."""
    text = {
        "vocab_size": len(tokenizer), "hidden_size": EMBEDDING_SIZE, "num_hidden_layers": 2,
        "num_attention_heads": 4, "intermediate_size": 2 * EMBEDDING_SIZE, "max_position_embeddings": MAX_TOKENS + 3,
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
    }  # fmt: skip
    audio = {
        "spec_size": 128, "num_mel_bins": 64, "patch_size": 8, "patch_stride": [8, 8], "window_size": 4,
        "patch_embeds_hidden_size": width, "depths": [1, 1, 2], "num_attention_heads": [2, 4, 8],
        "hidden_size": 4 * width, "num_hidden_layers": 3, "mlp_ratio": 2.0, "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0, "num_classes": len(EVENT_NAMES),
    }  # fmt: skip
    return ClapConfig(text_config=text, audio_config=audio, projection_dim=EMBEDDING_SIZE)


def feature_extractor() -> ClapFeatureExtractor:
    """The settings of the front end in transformers' form, saved beside the model."""
    return ClapFeatureExtractor(**FRONT_END)


def audio_features(audio: torch.Tensor) -> torch.Tensor:
    """ClapFeatureExtractor's log-mels (B, 1, frames, 64) of waveforms (B, S), S up to 5.12 s; shorter ones repeat."""
    filters = slaney_filters(SAMPLE_RATE, 1024, 64, 50.0, 8000.0)
    return log_mel_db(repeat_pad(audio, WINDOW_SAMPLES), 1024, 322, filters)[:, None]


def embed_audio(model: ClapModel, audio: torch.Tensor) -> torch.Tensor:
    """Unit-length embeddings (B, D) of waveforms (B, S)."""
    pooled = model.audio_model(input_features=audio_features(audio)).pooler_output
    return nn.functional.normalize(model.audio_projection(pooled), dim=-1)


def embed_text(model: ClapModel, tokenizer: RobertaTokenizer, captions: Sequence[str]) -> torch.Tensor:
    """Unit-length embeddings (B, D) of captions."""
    tokens = tokenizer(list(captions), padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
    pooled = model.text_model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).pooler_output
    return nn.functional.normalize(model.text_projection(pooled), dim=-1)


def scene_key(scene: Scene) -> tuple[object, ...]:
    """What a caption says: scenes of one key may swap captions ("while" has no order)."""
    events = tuple((event.name, event.attributes) for event in scene.events)
    return scene.relation, events if scene.relation == "then" else tuple(sorted(events))


class EventHead(nn.Module):
    """Reads events from embeddings of either kind; used in training only, so that both kinds agree early."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(EMBEDDING_SIZE, len(EVENT_NAMES))

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Logits (B, E) of unit-length embeddings (B, D)."""
        return self.read(embeddings * EMBEDDING_SIZE**0.5)


def clap_losses(
    audio: torch.Tensor,
    text: torch.Tensor,
    scale: torch.Tensor,
    scenes: Sequence[Scene],
    head: EventHead,
    wrong: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """Symmetric contrastive loss of unit embeddings (B, D), plus the event read-out of both.

    Clips of one batch with the same scene key share their captions as equally right answers. `wrong` (W, D) are
    captions that are right for none of the clips: the sounds have to tell them from their own.
    """
    keys = [scene_key(scene) for scene in scenes]
    same = torch.tensor([[float(a == b) for b in keys] for a in keys])
    targets = same / same.sum(dim=1, keepdim=True)
    logits = scale * audio @ text.T
    beside, beside_targets = logits, targets
    if wrong is not None:
        beside = torch.cat([logits, scale * audio @ wrong.T], dim=1)
        beside_targets = nn.functional.pad(targets, (0, len(wrong)))
    contrastive = nn.functional.cross_entropy(beside, beside_targets) + nn.functional.cross_entropy(logits.T, targets)
    labels = event_labels(scenes)
    events = sum(
        nn.functional.binary_cross_entropy_with_logits(head(side), labels) * len(EVENT_NAMES) for side in (audio, text)
    )
    return {"total": contrastive / 2.0 + torch.as_tensor(events) / 4.0, "contrastive": contrastive / 2.0}
