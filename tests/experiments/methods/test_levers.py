"""Each lever on the tiny untrained pipeline: what it changes, what it leaves alone, what it saves.

The pipeline has the published topology (attention-free outermost blocks) and seeded random text.
"""

import re
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

from experiments.methods.attention_reuse import attention_reuse
from experiments.methods.chain import chain
from experiments.methods.feature_reuse import attention_free_blocks, feature_reuse
from experiments.methods.guidance import guidance_interval
from experiments.methods.solver import solver
from experiments.methods.step_clock import Kept, StepClock
from experiments.pipelines.untrained import build_untrained
from litefocus import LiteFocusConfig, lite_focus
from litefocus.sites import find_sites

STEPS = 6


@pytest.fixture(scope="module")
def pipe() -> Any:
    cpu = torch.device("cpu")
    return build_untrained(
        cpu, torch.float32, name="tiny", seed=0, size="tiny", trained=False, training_length_s=10.24
    ).pipe


@pytest.fixture(autouse=True)
def without_gradients() -> Any:
    with torch.no_grad():
        yield


def latents(pipe: Any, guidance: float = 3.0, steps: int = STEPS) -> torch.Tensor:
    """The loop's result (1, 8, T, 16) for a fixed caption and noise."""
    return pipe(
        prompt=["a dog barks"],
        audio_length_in_s=0.32,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=[torch.Generator().manual_seed(0)],
        output_type="latent",
    ).audios


def unet_inputs(pipe: Any, batch: int, seed: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        "sample": normal(batch, 8, 16, 16),
        "encoder_hidden_states": normal(batch, 8, 12),
        "encoder_hidden_states_1": normal(batch, 5, 20),
        "encoder_attention_mask_1": torch.ones(batch, 5, dtype=torch.long),
    }


def forward(pipe: Any, t: float, inputs: dict[str, Any]) -> torch.Tensor:
    others = {name: x for name, x in inputs.items() if name != "sample"}
    return pipe.unet(inputs["sample"], torch.tensor(t), return_dict=False, **others)[0]


def called(module: Any, run: Any) -> int:
    """How often a module's own forward runs its last part during `run()`."""
    calls: list[int] = []
    handle = module.register_forward_hook(lambda *_: calls.append(1))
    run()
    handle.remove()
    return len(calls)


LEVERS = {
    "guidance": partial(guidance_interval, low=400),
    "features": partial(feature_reuse, every=2),
    "attention": partial(attention_reuse, every=2),
    "predicted features": partial(feature_reuse, every=2, order=1),
    "predicted attention": partial(attention_reuse, every=2, order=1),
    "solver": partial(solver, name="DPMSolverMultistepScheduler"),
}


@pytest.mark.parametrize("lever", LEVERS.values(), ids=LEVERS)
def test_leaves_nothing_behind(pipe: Any, lever: Any) -> None:
    before, scheduler = latents(pipe), pipe.scheduler
    with lever(pipe):
        assert not torch.equal(latents(pipe), before)
    assert torch.equal(latents(pipe), before)
    assert pipe.scheduler is scheduler
    assert not any("forward" in vars(module) for module in pipe.unet.modules())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in pipe.unet.modules())


def test_guidance_nowhere_equals_guidance_one(pipe: Any) -> None:
    with guidance_interval(pipe, low=2000, high=3000):
        none = latents(pipe, guidance=3.0)
    torch.testing.assert_close(none, latents(pipe, guidance=1.0), rtol=1e-5, atol=1e-5)


def test_guidance_everywhere_changes_nothing_and_an_unguided_batch_passes(pipe: Any) -> None:
    with guidance_interval(pipe, low=0):
        assert torch.equal(latents(pipe), expected := latents(pipe))
    assert torch.equal(latents(pipe), expected)
    inputs = unet_inputs(pipe, 2)
    expected = forward(pipe, 100, inputs)
    with guidance_interval(pipe, low=400):
        assert torch.equal(forward(pipe, 100, inputs), expected)


def test_outside_the_interval_only_the_conditional_half_is_computed(pipe: Any) -> None:
    inputs = unet_inputs(pipe, 4)
    inputs["sample"] = torch.cat([inputs["sample"][:2]] * 2)
    expected = forward(pipe, 100, inputs)[2:]
    rows = []
    handle = pipe.unet.conv_in.register_forward_hook(lambda module, args, out: rows.append(len(out)))
    with guidance_interval(pipe, low=400, high=900):
        got = {t: forward(pipe, t, inputs) for t in (901, 900, 400, 399)}
    handle.remove()
    assert rows == [2, 4, 4, 2]
    assert torch.equal(got[399][:2], got[399][2:])
    assert not torch.equal(got[400][:2], got[400][2:])
    with guidance_interval(pipe, low=400):
        torch.testing.assert_close(forward(pipe, 100, inputs)[2:], expected, rtol=1e-5, atol=1e-5)


def test_solver_keeps_the_models_noise_schedule(pipe: Any) -> None:
    testbed = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.0015,
        beta_end=0.0195,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )
    before, pipe.scheduler = pipe.scheduler, testbed
    try:
        with solver(pipe, name="DPMSolverMultistepScheduler", solver_order=2):
            chosen = pipe.scheduler
            assert isinstance(chosen, DPMSolverMultistepScheduler)
            for key in ("prediction_type", "timestep_spacing", "rescale_betas_zero_snr", "beta_end"):
                assert chosen.config[key] == testbed.config[key]
            chosen.set_timesteps(4)
            assert chosen.timesteps.tolist() == [999, 749, 499, 249]
            assert latents(pipe).isfinite().all()
        assert pipe.scheduler is testbed
    finally:
        pipe.scheduler = before


@pytest.mark.parametrize("name", ["DPMSolverMultistepScheduler", "UniPCMultistepScheduler"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_solver_lands_nearer_the_limit_than_ddim_at_equal_steps(name: str, prediction: str) -> None:
    """On a Gaussian the ideal prediction is known: x0 ~ N(2, 0.5^2). The limit is 1000 steps of DDIM."""
    ddim = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.0015,
        beta_end=0.0195,
        prediction_type=prediction,
        rescale_betas_zero_snr=prediction == "v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
    )

    class Holder:
        scheduler: Any = ddim

    def sample(scheduler: Any, steps: int) -> torch.Tensor:
        scheduler.set_timesteps(steps)
        x = torch.linspace(-2, 2, 9, dtype=torch.float64).reshape(1, 1, 3, 3)
        for t in scheduler.timesteps:
            a = scheduler.alphas_cumprod[int(t)].double()
            alpha, sigma = a.sqrt(), (1 - a).sqrt()
            clean = 2 + 0.25 * alpha / (alpha**2 * 0.25 + sigma**2) * (x - 2 * alpha)
            noise = (x - alpha * clean) / sigma
            target = noise if prediction == "epsilon" else alpha * noise - sigma * clean
            x = scheduler.step(target, t, x).prev_sample
        return x

    limit = sample(ddim, 1000)
    with solver(Holder, name=name):
        error = (sample(Holder.scheduler, 25) - limit).abs().max()
    assert error < 0.12
    assert error < 0.75 * (sample(ddim, 25) - limit).abs().max()
    assert Holder.scheduler is ddim


def test_reused_features_are_exact_where_nothing_changed(pipe: Any) -> None:
    inputs = unet_inputs(pipe, 2)
    # The deep features of t=500, then the same latents at t=499.9999: the shallow step must give nearly the same.
    expected = forward(pipe, 499.9999, inputs)
    with feature_reuse(pipe, every=2):
        first = forward(pipe, 500, inputs)
        second = forward(pipe, 499.9999, inputs)
        assert torch.equal(first, forward(pipe, 500, inputs))
    torch.testing.assert_close(second, expected, rtol=1e-4, atol=1e-4)


def test_reused_features_come_from_the_step_before(pipe: Any) -> None:
    early, late = unet_inputs(pipe, 2), unet_inputs(pipe, 2, seed=1)
    kept = []
    handle = pipe.unet.up_blocks[-2].register_forward_hook(lambda module, args, out: kept.append(out.clone()))
    with feature_reuse(pipe, every=3):
        outputs = [forward(pipe, t, inputs) for t, inputs in ((900, early), (800, late), (700, late), (600, late))]
    handle.remove()
    assert torch.equal(kept[1], kept[0])
    assert torch.equal(kept[2], kept[0])
    assert not torch.equal(kept[3], kept[0])
    assert torch.equal(outputs[3], forward(pipe, 600, late))
    assert not torch.equal(outputs[1], forward(pipe, 800, late))


@pytest.mark.parametrize(("every", "full"), [(2, 3), (3, 2), (5, 2)])
def test_deep_blocks_run_once_in_every_n_steps(pipe: Any, every: int, full: int) -> None:
    deep, outer = pipe.unet.mid_block.resnets[0], pipe.unet.up_blocks[-1].resnets[0]
    with feature_reuse(pipe, every=every):
        assert called(deep, lambda: latents(pipe)) == full
        assert called(outer, lambda: latents(pipe)) == STEPS
    with attention_reuse(pipe, every=every):
        assert called(find_sites(pipe.unet)[3].attention.to_q, lambda: latents(pipe)) == full


def test_reused_attention_is_that_of_the_step_before(pipe: Any) -> None:
    early, late = unet_inputs(pipe, 2), unet_inputs(pipe, 2, seed=1)
    site = find_sites(pipe.unet)[2].attention
    kept = []
    handle = site.register_forward_hook(lambda module, args, out: kept.append(out.clone()))
    with attention_reuse(pipe, every=2):
        for t, inputs in ((900, early), (800, late), (700, late)):
            forward(pipe, t, inputs)
    handle.remove()
    assert torch.equal(kept[0], kept[1])
    assert not torch.equal(kept[1], kept[2])


@pytest.mark.parametrize("lever", [feature_reuse, attention_reuse])
def test_a_new_loop_and_a_grown_batch_compute_and_a_halved_one_reuses_its_conditional_half(
    pipe: Any, lever: Any
) -> None:
    both = unet_inputs(pipe, 4)
    half = {name: x[2:] for name, x in both.items()}
    with lever(pipe, every=2):
        forward(pipe, 900, both)
        assert not torch.equal(forward(pipe, 800, both), forward(pipe, 950, both))  # 950: a new loop
        reused = forward(pipe, 800, both)
    with lever(pipe, every=2):
        forward(pipe, 950, both)
        torch.testing.assert_close(forward(pipe, 800, half), reused[2:], rtol=1e-5, atol=1e-5)
    expected = forward(pipe, 800, both)
    with lever(pipe, every=2):
        forward(pipe, 950, half)
        assert torch.equal(forward(pipe, 800, both), expected)


def test_chain_applies_all_and_leaves_in_reverse(pipe: Any) -> None:
    focus = partial(lite_focus, config=LiteFocusConfig(sparse_ratio=0.3))
    before = latents(pipe)
    with chain(pipe, [focus, LEVERS["features"], LEVERS["guidance"], LEVERS["solver"]]):
        together = latents(pipe)
        assert isinstance(pipe.scheduler, DPMSolverMultistepScheduler)
    with focus(pipe), LEVERS["features"](pipe), LEVERS["guidance"](pipe), LEVERS["solver"](pipe):
        assert torch.equal(latents(pipe), together)
    with LEVERS["solver"](pipe), LEVERS["guidance"](pipe), LEVERS["features"](pipe), focus(pipe):
        torch.testing.assert_close(latents(pipe), together)
    assert torch.equal(latents(pipe), before)
    with chain(pipe, [nullcontext]):
        assert torch.equal(latents(pipe), before)


def test_attention_reuse_works_over_litefocus(pipe: Any) -> None:
    focus = partial(lite_focus, config=LiteFocusConfig(sparse_ratio=0.3))
    inputs = unet_inputs(pipe, 2)
    with focus(pipe):
        expected = forward(pipe, 900, inputs)
    with chain(pipe, [focus, LEVERS["attention"]]):
        assert torch.equal(forward(pipe, 900, inputs), expected)
        # The same input again, later: with every site's output reused, the sampled keys no longer matter.
        assert not torch.equal(forward(pipe, 800, inputs), expected)


def test_outermost_attention_is_refused(pipe: Any, audioldm2_like: Any) -> None:
    assert attention_free_blocks(pipe.unet) == 1
    with pytest.raises(ValueError, match="with attention in blocks"), feature_reuse(audioldm2_like):
        pass
    assert not audioldm2_like.time_proj._forward_pre_hooks


@pytest.fixture
def audioldm2_like() -> Any:
    from diffusers import AudioLDM2UNet2DConditionModel

    with torch.device("meta"):
        return AudioLDM2UNet2DConditionModel(
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            block_out_channels=(8, 16),
            norm_num_groups=4,
            attention_head_dim=2,
            cross_attention_dim=[[None, 4, 4]] * 2,
        )


@pytest.mark.parametrize(
    ("lever", "error", "message"),
    [
        (partial(solver, name="EulerDiscreteScheduler"), ValueError, "solver 'EulerDiscreteScheduler': accepted are"),
        (partial(guidance_interval, low=500, high=500), ValueError, "guidance interval from t=500 to t=500"),
        (partial(feature_reuse, every=1), ValueError, "every=1: accepted are whole numbers from 2"),
        (partial(attention_reuse, every=2.0), ValueError, "every=2.0: accepted are whole numbers from 2"),
        (partial(attention_reuse, levels=(9,)), ValueError, "levels=(9,): this"),
    ],
)
def test_bad_option_is_one_clear_line(pipe: Any, lever: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)) as caught, lever(pipe):
        pass
    assert "\n" not in str(caught.value)
    assert not pipe.unet.time_proj._forward_pre_hooks


def test_a_bare_unet_has_no_solver(pipe: Any) -> None:
    with pytest.raises(TypeError, match="has no scheduler to replace"), solver(pipe.unet, "DDIMScheduler"):
        pass


def test_clock_counts_by_hand(pipe: Any) -> None:
    clock = StepClock(pipe, 3)
    inputs = unet_inputs(pipe, 1)
    reused = []
    for t in (900, 800, 700, 600, 500, 950, 900, 950):
        forward(pipe, t, inputs)
        reused.append(clock.reuse)
    clock.remove()
    assert reused == [False, True, True, False, True, False, True, False]


def kept_over(pipe: Any, every: int, order: int, timesteps: list[float], line: Any, rows: list[int]) -> list[Any]:
    """What a module whose output at timestep t is `line(t)` gives at each forward of a loop."""
    clock = StepClock(pipe.unet, every)
    kept, outputs = Kept(clock, order), []
    for t, count in zip(timesteps, rows, strict=True):
        pipe.unet.time_proj(torch.full((count,), t))
        outputs.append(kept.recall() if clock.reuse else kept.keep(line(t) * torch.ones(count, 1)))
    clock.remove()
    return outputs


def test_prediction_is_exact_on_a_straight_line_and_copies_until_two_are_known(pipe: Any) -> None:
    timesteps = [900.0, 800.0, 650.0, 600.0, 300.0, 250.0]
    got = kept_over(pipe, 2, 1, timesteps, lambda t: 3.0 + 0.5 * t, [2] * 6)
    want = [453.0, 453.0, 328.0, 303.0, 153.0, 128.0]
    assert [float(x[0, 0]) for x in got] == pytest.approx(want)
    copied = kept_over(pipe, 2, 0, timesteps, lambda t: 3.0 + 0.5 * t, [2] * 6)
    assert [float(x[0, 0]) for x in copied] == pytest.approx([453.0, 453.0, 328.0, 328.0, 153.0, 153.0])


def test_a_new_loop_forgets_the_line_and_a_halved_batch_keeps_it(pipe: Any) -> None:
    got = kept_over(pipe, 2, 1, [900, 800, 700, 600, 900, 800], lambda t: t, [4, 4, 4, 2, 4, 4])
    assert [len(x) for x in got] == [4, 4, 4, 2, 4, 4]
    assert [float(x[-1, 0]) for x in got] == pytest.approx([900, 900, 700, 600, 900, 900])


@pytest.mark.parametrize("order", [2, -1, True])
def test_other_orders_are_refused_and_leave_nothing(pipe: Any, order: Any) -> None:
    with pytest.raises(ValueError, match=f"order={order}: accepted are 0"), feature_reuse(pipe, order=order):
        pass
    assert not pipe.unet.time_proj._forward_pre_hooks


def test_a_forward_at_the_same_timestep_begins_a_new_loop(pipe: Any) -> None:
    """Clips of one step each: reusing across them would give one clip the features of another."""
    clock, reused = StepClock(pipe.unet, 2), []
    for _ in range(3):
        pipe.unet.time_proj(torch.full((2,), 999.0))
        reused.append(clock.reuse)
    clock.remove()
    assert reused == [False, False, False]
