"""What the tests of levers share."""

from typing import Any

import pytest
import torch

from litefocus.levers.optimize import LEVERS
from litefocus.levers.packed import unavailable

EAGER = tuple(lever for lever in LEVERS if lever != "compiled_blocks")
needs_packing = pytest.mark.skipif(bool(unavailable(torch.zeros(1))), reason=unavailable(torch.zeros(1)))


def named(unet: Any) -> dict[str, str]:
    """What each module would run: equal before and after means that nothing is left behind."""
    return {name: repr(sorted(set(vars(module)) - {"training"})) for name, module in unet.named_modules()}
