"""Whether weights changed since a lever copied them: asked of a few elements, for what leaves no trace in torch."""

import torch
from torch import nn


def adapted(unet: nn.Module) -> set[nn.Module]:
    """Adapters and their base layers, which are left alone: merging writes to a weight past autograd."""
    return {inner for module in unet.modules() if hasattr(module, "base_layer") for inner in module.modules()}


class Samples:
    """Some elements of every weight but the adapted, as they were when this was made: at most 8, spread over it."""

    def __init__(self, unet: nn.Module) -> None:
        kinds: dict[tuple[torch.device, torch.dtype], list[torch.Tensor]] = {}
        left = {weight for module in adapted(unet) for weight in module.parameters()}
        for weight in unet.parameters():
            if weight.is_floating_point() and weight.is_contiguous() and weight not in left:
                flat = weight.detach().view(-1)
                kinds.setdefault((weight.device, weight.dtype), []).append(flat[:: max(1, len(flat) // 8)][:8])
        self._views = list(kinds.values())
        self._before = [torch.cat(views) for views in self._views]

    def unchanged(self) -> bool:
        """Whether they still are; nan counts as unchanged."""
        pairs = zip(self._views, self._before, strict=True)
        return all(torch.allclose(torch.cat(views), before, 0, 0, equal_nan=True) for views, before in pairs)
