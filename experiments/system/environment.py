"""Where a number was measured: commit, versions, device, CPU features, threads. No secret, no path, no host name."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "numpy",
    "scipy",
    "soundfile",
    "soxr",
    "hydra-core",
    "litefocus",
)
# What decides which kernels a matrix product takes, as Linux calls it.
CPU_FEATURES = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile", "amx_bf16", "amx_int8")


def describe(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Describe this process: commit and dirty flag, package versions, device, dtype, threads."""
    return {
        **source_revision(),
        "python": sys.version.split()[0],
        "packages": package_versions(),
        "device": device_name(device),
        "device_type": device.type,
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "cpu_count": os.cpu_count(),
        "cpu_features": cpu_features(_cpuinfo()),
        "system": f"{platform.system()} {platform.machine()}",
    }


def source_revision() -> dict[str, Any]:
    """Commit of this source tree and whether files were changed or added since; both None outside a git checkout.

    What lies under results/ is data and no source: a study that is run there would call itself dirty by its own files.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return {"commit": None, "dirty": None}

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    return {
        "commit": git("rev-parse", "HEAD"),
        "dirty": bool(git("status", "--porcelain", "--", ".", ":!results")),
    }


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that numbers depend on.

    torch's own word for itself, because the metadata of some wheels leaves the build (+cu130) out.
    """
    installed = {name: importlib.metadata.version(name) for name in PACKAGES if _installed(name)}
    return {**installed, "torch": torch.__version__}


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def device_name(device: torch.device) -> str:
    """The processor's or GPU's model name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _cpu_field(_cpuinfo(), "model name") or platform.processor() or platform.machine()


def cpu_features(cpuinfo: str) -> list[str]:
    """Which of CPU_FEATURES the text of /proc/cpuinfo names: processors of one name round and run differently by them.

    Empty where the system does not say.
    """
    flags = set(_cpu_field(cpuinfo, "flags").split())
    return [name for name in CPU_FEATURES if name in flags]


def _cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


def _cpu_field(cpuinfo: str, name: str) -> str:
    """The first processor's value of a field of /proc/cpuinfo; empty where it has none."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
