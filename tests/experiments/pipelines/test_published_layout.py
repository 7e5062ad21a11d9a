"""Weights as they are published: loading, the README's lines, and the repair of what newer libraries broke."""

import json
import sys
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch
from diffusers import AudioLDM2Pipeline
from published_layout import BUILDERS, CAPTIONS, write_published

from experiments import run as program
from litefocus import inject_lite_focus, repair_pipeline


@pytest.fixture(scope="module")
def audioldm2(tmp_path_factory):
    return write_published(tmp_path_factory.mktemp("published"))


def clip(pipe):
    generator = torch.Generator().manual_seed(3)
    return pipe(CAPTIONS[0], audio_length_in_s=1.0, num_inference_steps=2, generator=generator, output_type="pt").audios


WEIGHTS = ("config.json", "model.safetensors", "pytorch_model.bin")
DIFFUSERS_WEIGHTS = ("config.json", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
TOKENIZER = ("special_tokens_map.json", "tokenizer.json", "tokenizer_config.json")
# cvssp/audioldm2 at c8e7e189d324425c05c4c2f81214041ef4107983, read from its public record.
PUBLISHED_FILES = {".gitattributes", "README.md", "model_index.json", "feature_extractor/preprocessor_config.json"} | {
    f"{folder}/{name}"
    for folder, names in {
        **dict.fromkeys(("language_model", "text_encoder", "text_encoder_2", "vocoder"), WEIGHTS),
        **dict.fromkeys(("projection_model", "unet", "vae"), DIFFUSERS_WEIGHTS),
        "scheduler": ("scheduler_config.json",),
        "tokenizer": (*TOKENIZER, "merges.txt", "vocab.json"),
        "tokenizer_2": (*TOKENIZER, "spiece.model"),
    }.items()
    for name in names
}


def load_stock(folder):
    return AudioLDM2Pipeline.from_pretrained(folder, use_safetensors=True)


def test_the_double_differs_from_what_diffusers_saves_where_the_published_files_do(audioldm2):
    index = json.loads((audioldm2 / "model_index.json").read_text())
    assert index["language_model"] == ["transformers", "GPT2Model"]
    assert index["unet"][0] == index["projection_model"][0] == "audioldm2"
    assert not list(audioldm2.rglob("generation_config.json"))
    assert json.loads((audioldm2 / "language_model" / "config.json").read_text())["max_new_tokens"] == 8
    assert {p.relative_to(audioldm2).as_posix() for p in audioldm2.rglob("*") if p.is_file()} == PUBLISHED_FILES


@pytest.mark.parametrize(("size", "sites"), [("base", 20), ("music", 20), ("large", 60)])
def test_the_doubles_have_as_many_sites_as_the_published_models(size, sites):
    pipe = BUILDERS["AudioLDM2Pipeline"](size)
    assert inject_lite_focus(repair_pipeline(pipe)) == sites


def test_a_stock_pipeline_fails_and_inject_says_how_to_mend_it(audioldm2):
    pipe = load_stock(audioldm2)
    with pytest.warns(UserWarning, match=r"language model is a GPT2Model.*call litefocus\.repair_pipeline\(pipe\)"):
        inject_lite_focus(pipe)
    with pytest.raises(AttributeError, match="_update_model_kwargs_for_generation"):
        clip(pipe)
    repair_pipeline(pipe)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        inject_lite_focus(pipe)
    assert clip(pipe).isfinite().all()


def test_the_repair_shares_the_weights_and_keeps_eight_tokens_and_the_random_state(audioldm2):
    pipe = load_stock(audioldm2)
    bare, state = pipe.language_model, torch.get_rng_state()
    assert repair_pipeline(pipe) is pipe
    assert torch.equal(torch.get_rng_state(), state)
    model = pipe.language_model
    assert {p.data_ptr() for p in model.parameters()} == {p.data_ptr() for p in bare.parameters()}
    assert model.config.max_new_tokens == 8
    assert not model.training
    assert not any(p.is_meta for p in [*model.parameters(), *model.buffers()])
    repair_pipeline(pipe)
    assert pipe.language_model is model


def test_the_repaired_pipeline_equals_one_that_was_built_with_a_generating_model(audioldm2, tmp_path):
    repaired = repair_pipeline(load_stock(audioldm2))
    repaired.save_pretrained(tmp_path)
    again = AudioLDM2Pipeline.from_pretrained(tmp_path)
    assert type(again.language_model).__name__ == "GPT2LMHeadModel"
    assert torch.equal(clip(repaired), clip(again))


def test_a_pipeline_whose_library_mends_itself_is_left_alone(audioldm2):
    class Mended(AudioLDM2Pipeline):
        def generate_language_model(self, inputs_embeds, **_):
            return inputs_embeds[:, -1:].expand(-1, 8, -1)

    pipe = Mended(**load_stock(audioldm2).components)
    bare = pipe.language_model
    assert repair_pipeline(pipe).language_model is bare
    assert clip(pipe).isfinite().all()


@pytest.mark.parametrize("family", ["AudioLDMPipeline", "AudioLDM2Pipeline"])
def test_a_pipeline_that_generates_is_left_alone(family):
    pipe = BUILDERS[family]()
    before = dict(pipe.components)
    assert repair_pipeline(pipe).components == before


FAMILY = {"audioldm": "AudioLDMPipeline", "musicldm": "MusicLDMPipeline"}


@pytest.fixture
def run_command(tmp_path, monkeypatch, capsys):
    """`run_command(name, *overrides)`: the main command on a published folder, as typed; returns what it printed."""
    return partial(_run_command, tmp_path, monkeypatch, capsys)


def _run_command(tmp_path, monkeypatch, capsys, name, *overrides):
    size = name.removeprefix("audioldm2_") if name.startswith("audioldm2_") else "base"
    folder = write_published(tmp_path / "weights", FAMILY.get(name, "AudioLDM2Pipeline"), size)
    (tmp_path / "prompts.txt").write_text(f"{CAPTIONS[0]}\n")
    command = ["run", f"pipeline={name}", f"pipeline.path={folder}", "data=captions",
               f"data.file={tmp_path / 'prompts.txt'}", "durations=[5.12]", "steps=2", *overrides,
               f"out_dir={tmp_path / 'run'}", f"hydra.run.dir={tmp_path / 'log'}"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", command)
    program.main()
    records = [json.loads(line) for line in (tmp_path / "run" / "records.jsonl").read_text().splitlines()]
    clips = [record for record in records if record["kind"] == "clip"]
    assert {record["samples"] for record in clips} == {round(5.12 * 16000)}
    assert len(list((tmp_path / "run" / "audio").rglob("*.wav"))) == len(clips) == 1
    return "".join(capsys.readouterr())


def test_the_plain_command_makes_clips_and_a_table_and_says_that_nothing_was_scored(tmp_path, run_command):
    assert run_command("audioldm2", "timing.rounds=1").count("no metrics are chosen") == 1
    report = (tmp_path / "run" / "report.md").read_text()
    assert "Not scored: no metrics were chosen; the same command with `metrics=strict` scores these clips." in report
    assert "| LiteFocus" in report


@pytest.mark.slow
@pytest.mark.parametrize("name", ["audioldm2_large", "audioldm2_music", "audioldm", "musicldm"])
def test_the_main_command_runs_on_a_published_folder(run_command, name):
    run_command(name, "stages=[generate,report]")


def test_the_lines_of_the_readme_run_on_a_published_folder(audioldm2, monkeypatch):
    code = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    call, load = AudioLDM2Pipeline.__call__, AudioLDM2Pipeline.from_pretrained
    # Only the size is changed: the folder in place of the hub, the CPU in place of a GPU, two steps of one second.
    monkeypatch.setattr(AudioLDM2Pipeline, "from_pretrained", lambda hub_id, dtype: load(audioldm2))
    monkeypatch.setattr(AudioLDM2Pipeline, "to", lambda self, device: self)
    short = {"audio_length_in_s": 1.0, "num_inference_steps": 2}
    monkeypatch.setattr(AudioLDM2Pipeline, "__call__", lambda self, prompt, **options: call(self, prompt, **short))
    names = {}
    exec(code, names)
    assert names["audio"].shape == (16000,)
