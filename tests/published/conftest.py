"""The second environment's set-up: an offline hub cache, before anything imports a tokenizer."""

import importlib.util
import os
import sys
import tempfile
from pathlib import Path

PACKAGES = ("laion_clap", "frechet_audio_distance", "torchvggish", "hear21passt")
MISSING = [name for name in PACKAGES if importlib.util.find_spec(name) is None]

if not MISSING:
    # Only in the second environment: the packages read these when they are imported.
    HOME = Path(tempfile.mkdtemp(prefix="local_hub_"))
    os.environ.update(HF_HOME=str(HOME), HF_HUB_OFFLINE="1", WANDB_MODE="disabled")
    sys.path.insert(0, str(Path(__file__).parent))
    import local_hub

    local_hub.build(HOME)
    sys.argv = sys.argv[:1]  # laion_clap.training parses them when it is imported.
