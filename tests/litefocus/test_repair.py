"""The repair of MusicLDM follows its text encoder into a copy; what it makes of whole pipelines: tests/experiments."""

import copy
import pickle
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from litefocus import repair_pipeline


class Encoder(nn.Module):
    """CLAP's interface since transformers 5: features come in an output object."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def get_text_features(self, tokens: torch.Tensor) -> Any:
        return SimpleNamespace(pooler_output=self.layer(tokens))


class Pipeline:
    """MusicLDM's use of it."""

    def __init__(self) -> None:
        self.text_encoder: Any = Encoder()

    def _encode_prompt(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.text_encoder.get_text_features(tokens).square()


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda pipe: pickle.loads(pickle.dumps(pipe))])
def test_a_copy_of_a_repaired_pipeline_runs_its_own_encoder(twin: Any) -> None:
    pipe, tokens = repair_pipeline(Pipeline()), torch.ones(1, 3)
    expected = pipe._encode_prompt(tokens)
    copied = twin(pipe)
    assert torch.equal(copied._encode_prompt(tokens), expected)
    with torch.no_grad():
        for weight in copied.text_encoder.parameters():
            weight.zero_()
    assert not copied._encode_prompt(tokens).any()
    assert torch.equal(pipe._encode_prompt(tokens), expected)
    assert repair_pipeline(copied).text_encoder.get_text_features(tokens).shape == (1, 2)
