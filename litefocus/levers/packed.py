"""Linear layers whose weight is laid out once in oneDNN's own format: exact, CPU, float32, inference only.

torch's linear hands the weight to MKL as it lies, and adds the bias in a pass of its own. oneDNN's kernel reads a
packed weight, adds the bias inside and can apply what follows (GELU, a product, a sum) while the result is in
registers. torch keeps these operators for its own compiler; they are private, so `unavailable` is asked first.

Shapes: ... any leading axes, I input width, O output width.
"""

import torch

_ROWS_HINT = 1024  # oneDNN picks the layout for about this many rows; it is valid for any number


def unavailable(weight: torch.Tensor) -> str:
    """Why a weight cannot be packed; empty if it can."""
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        return f"weights are {weight.dtype} on {weight.device.type}, oneDNN packing serves float32 on cpu"
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return f"torch {torch.__version__} comes without oneDNN's packed linear operators"
    return ""


class PackedLinear:
    """`x @ weight.T + bias` with a packed copy of the weight.

    Args:
        weight: (O, I). bias: (O,) or None.
    Raises:
        ValueError: a weight that cannot be packed.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        if reason := unavailable(weight):
            raise ValueError(f"cannot pack: {reason}")
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), _ROWS_HINT)
        self.bias = None if bias is None else bias.detach()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(..., I) -> (..., O)."""
        return torch.ops.mkldnn._linear_pointwise(x.contiguous(), self.weight, self.bias, "none", [], "")

    def gelu(self, x: torch.Tensor) -> torch.Tensor:
        """GELU (by the error function) of the product: (..., I) -> (..., O)."""
        return torch.ops.mkldnn._linear_pointwise(x.contiguous(), self.weight, self.bias, "gelu", [], "none")

    def times(self, x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        """The product times `factor` (..., O), element by element."""
        return torch.ops.mkldnn._linear_pointwise.binary(x.contiguous(), factor, self.weight, self.bias, "mul")


class PlainLinear:
    """The same calls on torch's own linear, for any device and dtype. Keeps the weight as it is."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self.weight = weight.detach()
        self.bias = None if bias is None else bias.detach()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(..., I) -> (..., O)."""
        return torch.nn.functional.linear(x, self.weight, self.bias)

    def gelu(self, x: torch.Tensor) -> torch.Tensor:
        """GELU (by the error function) of the product: (..., I) -> (..., O)."""
        return torch.nn.functional.gelu(self(x))

    def times(self, x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        """The product times `factor` (..., O), written into the product."""
        return self(x).mul_(factor)
