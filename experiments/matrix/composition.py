"""Methods made of methods, `method=[optimized,litefocus]` or a node with `of`, and varied by -m, written out."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

CHAIN = "experiments.methods.chain.chain"


def with_composed_methods(config: DictConfig) -> DictConfig:
    """The configuration in which every method that is made `of` others stands as one, as records keep it.

    Raises:
        ValueError: parts that want different numbers of steps, where the whole does not say its own; something to
            vary that no method has.
    """
    found = _with_variants(OmegaConf.create(config))
    places = [(found, "method"), *((found.methods, name) for name in found.methods)]
    places += [(found.timing.arms, name) for name in found.timing.arms] if "timing" in found else []
    with open_dict(found):
        for group, key in places:
            if (method := group.get(key)) and method.get("of"):
                group[key] = composed(group[key])
    return found


def _with_variants(config: DictConfig) -> DictConfig:
    """The configuration with a method for every combination of the values in `vary`, as Hydra's -m asks for them.

    `vary` is a list of {key, values, new}: a path in the method's node, or `steps` or `guidance` of the run. A method
    that has no such key, or steps of its own, does not vary by it; `new` adds the key.
    """
    entries = config.get("vary") or []
    with open_dict(config):
        config.pop("vary", None)
        if not entries:
            return config
        nodes = list(config.methods.values()) if config.methods else [config.method]
        for entry in entries:
            if not any(_varies(node, entry) for node in nodes):
                names = ", ".join(str(node.get("name")) for node in nodes)
                raise ValueError(f"method.{entry.key}: none of the methods {names} has this option to vary")
        found = {node["name"]: (node, of) for of in nodes for node in _variants(of, entries)}
        config.methods = {re.sub(r"[^A-Za-z0-9_]", "_", name): node for name, (node, _) in found.items()}
        if "timing" in config and config.timing.baseline not in found:
            of_baseline = [name for name, (_, of) in found.items() if of.get("name") == config.timing.baseline]
            config.timing.baseline = next(iter(of_baseline), config.timing.baseline)
    return config


def _varies(node: DictConfig, entry: DictConfig) -> bool:
    if entry.key in ("steps", "guidance"):
        return node.get(entry.key) is None
    parent: Any = node
    *path, last = str(entry.key).split(".")
    for part in path:
        parent = parent.get(part) if OmegaConf.is_dict(parent) else None
    return OmegaConf.is_dict(parent) and (last in parent or bool(entry.new))


def _variants(node: DictConfig, entries: Sequence[DictConfig]) -> Iterator[dict[str, Any]]:
    own = [entry for entry in entries if _varies(node, entry)]
    for values in product(*(entry["values"] for entry in own)):
        variant = DictConfig(OmegaConf.to_container(node, resolve=True))
        for entry, value in zip(own, values, strict=True):
            OmegaConf.update(variant, entry.key, value, force_add=True)
        method: Any = composed(variant) if variant.get("of") else OmegaConf.to_container(variant)
        told = [(_short(e.key, own), value) for e, value in zip(own, values, strict=True) if len(e["values"]) > 1]
        name = "-".join([str(method["name"]), *(f"{key}{value}" for key, value in told)])
        label = ", ".join([str(method["label"]), *(f"{key.replace('_', ' ')} {value}" for key, value in told)])
        yield method | {"name": re.sub(r"[^A-Za-z0-9._-]+", "_", name), "label": label}


def _short(key: str, entries: Sequence[DictConfig]) -> str:
    """The last part of a key where no other varied key ends in it."""
    last = key.rpartition(".")[2]
    return last if sum(entry.key.rpartition(".")[2] == last for entry in entries) == 1 else key


def composed(config: DictConfig) -> dict[str, Any]:
    """One method out of the parts under `of`, entered in their order; what the node says itself counts before them."""
    node: Any = OmegaConf.to_container(config, resolve=True)
    parts: list[Mapping[str, Any]] = list(node["of"].values())
    names = [str(part["name"]) for part in parts]
    name = str(node.get("name") or "-".join(names))
    steps = {part["steps"]: part["name"] for part in parts if part.get("steps")}
    if len(steps) > 1 and not node.get("steps"):
        wanted = ", ".join(f"{count} ({part})" for count, part in steps.items())
        raise ValueError(f"method {name}: its parts want different steps: {wanted}; set method.steps")
    of_all = {
        "steps": next(iter(steps), None),
        "approximate": any(part.get("approximate") for part in parts),
        "needs_schedule": any(part.get("needs_schedule") for part in parts),
        "same_output_as": _same_output_as(parts),
    }
    return {
        "name": name,
        "label": " + ".join(str(part["label"]) for part in parts),
        **{flag: any(part.get(flag) for part in parts) for flag in ("timing_only", "materialised")},
        **{key: value for key, value in of_all.items() if value},
        "parts": names,
        **{key: value for key, value in node.items() if key != "of"},
        "patch": {
            "_target_": CHAIN,
            "_partial_": True,
            "_convert_": "all",
            "patches": [part["patch"] for part in parts],
        },
    }


def _same_output_as(parts: list[Mapping[str, Any]]) -> str:
    """What a chain must equal up to rounding: its one part that changes the output, or dense where none does."""
    exact = [part["name"] == "dense" or part.get("same_output_as") == "dense" for part in parts]
    changing = [str(part["name"]) for part, keeps in zip(parts, exact, strict=True) if not keeps]
    return "dense" if not changing else changing[0] if len(changing) == 1 < len(parts) else ""
