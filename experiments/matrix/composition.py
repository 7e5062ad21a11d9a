"""Methods made of methods: `method=[optimized,litefocus]`, or a node with `of` in a yaml, written out as one method."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

CHAIN = "experiments.methods.chain.chain"


def with_composed_methods(config: DictConfig) -> DictConfig:
    """The configuration in which every method that is made `of` others stands as one, as records keep it.

    Raises:
        ValueError: parts that want different numbers of steps, where the whole does not say its own.
    """
    found = OmegaConf.create(config)
    places = [(found, "method"), *((found.methods, name) for name in found.methods)]
    places += [(found.timing.arms, name) for name in found.timing.arms] if "timing" in found else []
    with open_dict(found):
        for group, key in places:
            if group[key] and group[key].get("of"):
                group[key] = composed(group[key])
    return found


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
