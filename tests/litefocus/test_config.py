"""Options are checked when they are made, with one clear line."""

import re
from dataclasses import FrozenInstanceError
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from litefocus import LiteFocusConfig
from litefocus.config import as_config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparse_ratio": 1.5}, "sparse_ratio=1.5: accepted are numbers from 0 to 1"),
        ({"sparse_ratio": -0.1}, "sparse_ratio=-0.1: accepted are"),
        ({"sparse_ratio": float("nan")}, "sparse_ratio=nan: accepted are"),
        ({"sparse_ratio": "0.1"}, "sparse_ratio='0.1': accepted are"),
        ({"same_frequency": False, "cross_frequency": False}, "leaves no keys: turn one mechanism on"),
        ({"same_frequency": False, "sparse_ratio": 0.0}, "leaves no keys: turn one mechanism on"),
        ({"same_frequency": 1}, "same_frequency=1: accepted are True and False"),
        ({"duplicates": "once"}, "duplicates='once': accepted are 'count_twice', 'union'"),
        ({"resample": "clip"}, "resample='clip': accepted are 'call', 'step', 'fixed'"),
        ({"backend": "flash"}, "backend='flash': accepted are 'auto', 'lse', 'append'"),
        ({"seed": 0.5}, "seed=0.5: accepted are whole numbers from -2**63 to 2**63 - 1"),
        ({"seed": 2**63}, "seed=9223372036854775808: accepted are whole numbers from -2**63 to 2**63 - 1"),
        ({"seed": -(2**70)}, "seed=-1180591620717411303424: accepted are whole numbers from -2**63"),
        ({"levels": np.array(1.5)}, "levels=array(1.5): accepted are whole numbers from 0"),
        ({"levels": ()}, "levels=(): accepted are whole numbers from 0"),
        ({"levels": None}, "levels=None: accepted are whole numbers from 0"),
        ({"levels": 1.5}, "levels=1.5: accepted are whole numbers from 0"),
        ({"levels": "0"}, "levels='0': accepted are whole numbers from 0"),
        ({"levels": (-1,)}, "levels=(-1,): accepted are whole numbers from 0"),
        ({"window_frames": 0}, "window_frames=0: accepted are whole numbers from 1, or None"),
        ({"window_frames": 2.5}, "window_frames=2.5: accepted are whole numbers from 1"),
        ({"max_cross_keys": 0}, "max_cross_keys=0: accepted are whole numbers from 1, or None"),
        ({"max_cross_keys": True}, "max_cross_keys=True: accepted are whole numbers from 1"),
        ({"duplicates": "union", "backend": "lse"}, "backend='lse' with duplicates='union': accepted are backend='app"),
        ({"window_frames": 8, "duplicates": "union"}, "duplicates='union' with window_frames=8: accepted is"),
        ({"window_frames": 8, "same_frequency": False}, "same_frequency=False with window_frames=8: accepted is True"),
        ({"f_n": 8}, "unknown LiteFocus options ['f_n']: accepted are same_frequency,"),
        ({"f_n": 8, 1: 2}, "unknown LiteFocus options [1, 'f_n']: accepted are same_frequency,"),
    ],
)
def test_bad_option_is_one_clear_line(options: dict[Any, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        as_config(options)
    assert "\n" not in str(error.value)


def test_authors_dictionary_gives_the_default_config() -> None:
    authors = {"same_frequency": True, "cross_frequency": True, "sparse_ratio": 0.1}
    assert as_config(authors) == LiteFocusConfig() == as_config(None)


def test_config_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="config of type float: accepted are"):
        as_config(0.1)  # type: ignore[arg-type]


def test_config_is_frozen_and_levels_are_normalised() -> None:
    config = LiteFocusConfig(levels=[1, 0, 1])  # type: ignore[arg-type]
    assert config.levels == (0, 1)
    with pytest.raises(FrozenInstanceError):
        config.seed = 1  # type: ignore[misc]


def test_numbers_of_numpy_are_the_numbers_they_print() -> None:
    config = LiteFocusConfig(
        sparse_ratio=np.float32(0.1), seed=np.int64(3), max_cross_keys=np.int32(8), levels=(np.int64(0),)
    )
    assert config == LiteFocusConfig(sparse_ratio=0.1, seed=3, max_cross_keys=8)
    assert [type(x) for x in (config.sparse_ratio, config.seed, config.max_cross_keys)] == [float, int, int]
    assert LiteFocusConfig(sparse_ratio=Fraction(1, 10)) == LiteFocusConfig()  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"sparse_ratio=1\.5: accepted are numbers from 0 to 1"):
        LiteFocusConfig(sparse_ratio=Fraction(3, 2))  # type: ignore[arg-type]
    assert [LiteFocusConfig(seed=seed).seed for seed in (2**63 - 1, -(2**63))] == [2**63 - 1, -(2**63)]
    for wrong in ({"seed": np.float64(3)}, {"sparse_ratio": np.bool_(True)}, {"sparse_ratio": np.float32("nan")}):
        with pytest.raises(ValueError, match="accepted are"):
            LiteFocusConfig(**wrong)
