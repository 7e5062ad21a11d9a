"""Equal seeds give equal audio: twice, in another order, through the pipeline, in a loop of one's own, in threads."""

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Run
from diffusers import AudioLDM2Pipeline, DDIMInverseScheduler

from experiments.testbed.plugin.load import load_testbed_pipeline
from litefocus import LengthRule, LengthSchedule, LiteFocusConfig, inject_lite_focus, scheduled_focus
from litefocus.sites import find_sites

RESAMPLE = ["call", "step", "fixed"]
Clip = Callable[[Any, int], np.ndarray]


@pytest.fixture(scope="module")
def pipe() -> Any:
    pipe = load_testbed_pipeline()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def from_pipeline(pipe: Any, seed: int) -> np.ndarray:
    """A clip, whose length follows from the seed; the scheduler has state, so every call takes its own."""
    scheduler = pipe.scheduler.from_config(pipe.scheduler.config)
    # from_pipe takes over models of the published classes only, and the testbed's vocoder is of another.
    own = AudioLDM2Pipeline.from_pipe(pipe, scheduler=scheduler, vocoder=pipe.vocoder)
    own.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(seed)
    seconds = 0.64 + 0.64 * (seed % 2)
    return np.asarray(own("rain", audio_length_in_s=seconds, num_inference_steps=3, generator=generator).audios)


def from_loop(pipe: Any, seed: int) -> np.ndarray:
    """Denoised latents, then two steps of inversion, by calls of the UNet alone."""
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(1, pipe.unet.config.in_channels, 16 + 8 * (seed % 2), 16, generator=generator)
    text = [torch.randn(1, 3, width, generator=generator) for width in pipe.unet.config.cross_attention_dim[0][1:]]
    for kind, steps in ((type(pipe.scheduler), 3), (DDIMInverseScheduler, 2)):
        scheduler = kind.from_config(pipe.scheduler.config)
        scheduler.set_timesteps(steps)
        for timestep in scheduler.timesteps:
            with torch.no_grad():
                noise = pipe.unet(
                    latents, timestep, encoder_hidden_states=text[0], encoder_hidden_states_1=text[1]
                ).sample
            latents = scheduler.step(noise, timestep, latents).prev_sample
    return latents.numpy()


@pytest.mark.parametrize("clip", [from_pipeline, from_loop])
@pytest.mark.parametrize("resample", RESAMPLE)
def test_equal_seeds_give_equal_clips_in_any_order(pipe: Any, clip: Clip, resample: str) -> None:
    inject_lite_focus(pipe, resample=resample, sparse_ratio=0.2)
    first = {seed: clip(pipe, seed) for seed in (0, 1, 2)}
    for seed in (2, 2, 0, 1):
        assert np.array_equal(clip(pipe, seed), first[seed])
    inject_lite_focus(pipe, resample=resample, sparse_ratio=0.2)
    assert np.array_equal(clip(pipe, 1), first[1])
    if resample != "fixed":
        inject_lite_focus(pipe, resample=resample, sparse_ratio=0.2, stream="count")
        assert not np.array_equal(clip(pipe, 0), clip(pipe, 0))


@pytest.mark.parametrize("clip", [from_pipeline, from_loop])
@pytest.mark.parametrize("resample", RESAMPLE)
@pytest.mark.parametrize("stream", ["timestep", "count"])
def test_threads_get_the_clips_that_they_get_alone(pipe: Any, clip: Clip, resample: str, stream: str) -> None:
    """To 1e-4: the stock pipeline's clips differ by 1e-5 between threads, clips of other keys by 1e-2."""
    alone = {}
    for seed in range(4):
        inject_lite_focus(pipe, resample=resample, sparse_ratio=0.2, stream=stream)
        alone[seed] = clip(pipe, seed)
    inject_lite_focus(pipe, resample=resample, sparse_ratio=0.2, stream=stream)
    barrier = Barrier(4)

    def request(seed: int) -> np.ndarray:
        barrier.wait()
        return clip(pipe, seed)

    with ThreadPoolExecutor(4) as threads:
        served = list(threads.map(request, alone))
    for seed, got in enumerate(served):
        np.testing.assert_allclose(got, alone[seed], atol=1e-4)


def test_a_forward_in_the_middle_of_another_thread_s_changes_nothing(audioldm2_unet: Any, run: Run) -> None:
    """Deterministic: the other thread's whole forward, of another length and timestep, runs inside this one's site."""
    inject_lite_focus(audioldm2_unet, sparse_ratio=0.2, resample="step")
    with torch.no_grad():
        expected = run(audioldm2_unet), run(audioldm2_unet, time=40, timestep=9)
        seen = []

        def other() -> torch.Tensor:
            with torch.no_grad():
                return run(audioldm2_unet, time=40, timestep=9)

        def interrupt(*_: Any) -> None:
            handle.remove()
            with ThreadPoolExecutor(1) as thread:
                seen.append(thread.submit(other).result())

        handle = find_sites(audioldm2_unet)[1].attention.register_forward_pre_hook(interrupt)
        assert torch.equal(run(audioldm2_unet), expected[0])
        assert torch.equal(seen[0], expected[1])


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda unet: pickle.loads(pickle.dumps(unet))])
def test_copies_draw_what_the_model_draws(audioldm2_unet: Any, run: Run, twin: Any) -> None:
    inject_lite_focus(audioldm2_unet, sparse_ratio=0.2)
    with torch.no_grad():
        expected = run(audioldm2_unet)
        assert torch.equal(run(twin(audioldm2_unet)), expected)


def test_a_schedule_s_clips_repeat(audioldm2_unet: Any, run: Run) -> None:
    rules = (LengthRule(12, LiteFocusConfig(sparse_ratio=0.3)), LengthRule(None, LiteFocusConfig(seed=4)))
    with torch.no_grad(), scheduled_focus(audioldm2_unet, LengthSchedule(rules)):
        first = [run(audioldm2_unet, time=time, timestep=t) for time, t in ((24, 5), (40, 5), (24, 9))]
        again = [run(audioldm2_unet, time=time, timestep=t) for time, t in ((24, 9), (40, 5), (24, 5))]
    assert all(torch.equal(a, b) for a, b in zip(first, reversed(again), strict=True))
    assert not torch.equal(first[0], first[2])


@pytest.mark.parametrize("resample", RESAMPLE)
@pytest.mark.parametrize("stream", ["timestep", "count"])
def test_a_forward_that_is_not_a_call_has_no_keys(audioldm2_unet: Any, run: Run, resample: str, stream: str) -> None:
    """It starts no draw: the keys would be those of the call before. A fixed sample is the same in any forward."""
    inject_lite_focus(audioldm2_unet, resample=resample, stream=stream, sparse_ratio=0.3)

    def forward(*args: Any, **kwargs: Any) -> Any:
        return audioldm2_unet.forward(*args, **kwargs)

    def failing() -> None:
        with pytest.raises(ValueError, match="LiteFocus accepts none"):
            run(lambda *args, **kwargs: audioldm2_unet(*args, **kwargs, attention_mask=torch.ones(2, 96)))

    with torch.no_grad():
        if resample == "fixed":
            assert torch.equal(run(forward), run(audioldm2_unet))
            return
        for before in (lambda: None, lambda: run(audioldm2_unet, timestep=900), failing):
            before()
            with pytest.raises(RuntimeError, match=r"call the UNet itself, not unet\.forward$") as error:
                run(forward)
            assert "\n" not in str(error.value)
