"""A page to try: `python -m experiments.app` and open the address that it prints.

A prompt, a length, steps and methods; dense attention and LiteFocus side by side from the same noise, with one
playhead, spectrograms, seconds and scores. Everything that `experiments.run` takes can be set: `pipeline=audioldm2
pipeline.path=FOLDER`, `'durations=[10,80]'` (the lengths offered), `+method@methods.mine=mine`, `out_dir=FOLDER`.
The runs are those of the harness: a folder with records each, the same settings the same folder, nothing made twice.
Offline; needs the extra `app`. The page is served to this machine alone: `app.host` and `app.port` change that.
"""

import functools
import hashlib
import html
import importlib.util
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from experiments import frames
from experiments.checks.scoring import check_scoring
from experiments.datasets.prompts import MAX_CAPTION_CHARACTERS, check_caption
from experiments.listen.page import PAGE
from experiments.matrix.clips import plan_clips
from experiments.matrix.composition import with_composed_methods
from experiments.matrix.conditions import build_methods, expand_conditions
from experiments.pipelines.pipeline import Pipeline
from experiments.records import RECORDS_FILE, RunRecord, of_kind, read_records
from experiments.records.folder import check_same_weights, check_writable, locked
from experiments.report import report
from experiments.stages.generate import generate_clips
from experiments.stages.score import is_scored, score_run
from experiments.stages.setup import load_pipeline, load_prompts, prepare_torch, resolved, start_record
from experiments.system.cli import (
    USER_ERRORS,
    check_overrides,
    describe_error,
    one_line_errors,
    print_what_was_asked,
    with_method_lists,
)
from experiments.system.files import write_whole
from experiments.tables.quality_rows import ARROWS, metric_label

logger = logging.getLogger(__name__)

OFFERED = ("dense", "litefocus", "litefocus_optimized", "focus_only", "compensation_only", "litefocus_linear")
CHOSEN = ("dense", "litefocus")
EXAMPLES = ("A dog barks twice", "Rain on a roof, then thunder")
WHAT_IT_SAYS = "One clip a method, once: an impression, no measurement. `experiments.run` measures."


class Stopped(Exception):
    """The visitor pressed stop; finished clips are kept."""


def configured(words: list[str]) -> DictConfig:
    """The configuration of the page: every method that it offers, and what the command line says."""
    own = ["data=captions", "data.file=unset", "name=app", "stages=[generate,score,report]"]
    methods = [f"+method@methods.{name}={name}" for name in OFFERED]
    config = check_overrides([*own, *methods, "+app={host:127.0.0.1,port:null}", *with_method_lists(words)], "config")
    if config is None:
        raise ValueError("got a flag of Hydra that starts several runs; the page takes key=value words")
    check_writable(Path(config.out_dir))
    return with_composed_methods(config)


def asked(config: DictConfig, caption: str, duration_s: float, steps: int, seed: int, methods: list[str]) -> DictConfig:
    """The configuration of one run, in a folder named by all of it; what a visitor typed enters as data.

    Raises:
        ValueError: a caption, length, number of steps or seed that the harness refuses.
    """
    one = OmegaConf.masked_copy(config, [str(key) for key in config if key != "app"])
    text = check_caption(caption, "prompt")
    chosen = [name for name in config.methods if name in {*methods, config.timing.baseline}]
    one.methods = {name: config.methods[name] for name in chosen}
    one.name = "comparison"
    one.durations, one.steps, one.seeds = [float(duration_s)], int(steps), [int(seed)]
    expand_conditions(one, build_methods(one))
    identity = json.dumps([text, resolved(one)], sort_keys=True)
    run_dir = Path(config.out_dir) / hashlib.sha256(identity.encode()).hexdigest()[:12]
    one.out_dir, one.data.file = str(run_dir), str(run_dir / "prompt.txt")
    check_writable(run_dir)
    write_whole(run_dir / "prompt.txt", text + "\n")
    return one


def make(config: DictConfig, pipeline: Pipeline, between_clips: Callable[[], None]) -> Path:
    """The stages generate, score and report of one run; returns its folder, which may have been complete already."""
    run_dir = Path(config.out_dir)
    prompts, conditions = load_prompts(config), expand_conditions(config, build_methods(config))
    pipeline.check_duration(float(config.durations[0]))
    with locked(run_dir):
        check_same_weights(of_kind(read_records(run_dir), RunRecord), pipeline.weights)
        if scored := bool(config.pipeline.trained) and is_scored(config):
            check_scoring(config, prompts)
        run_id = start_record(config, pipeline, prompts, run_dir)
        clips = plan_clips(conditions, prompts, list(config.seeds))
        generate_clips(pipeline, clips, run_dir, run_id, between_clips=between_clips)
        if scored:
            score_run(config, conditions, prompts, run_dir, run_id)
        report(run_dir)
    return run_dir


def table(run_dir: Path, baseline: str) -> pd.DataFrame:
    """A row a method: seconds of the clip and of a step, times faster by step, and its scores."""
    data = frames(run_dir)
    clips = data.clips.set_index("method")
    columns = {
        "method": clips["label"],
        "clip, s": clips["latency_s"].round(2),
        "step, s": clips["step_s"].round(4),
        "times faster a step": (clips["step_s"].get(baseline, float("nan")) / clips["step_s"]).round(2),
    }
    for name, scores in data.metrics.groupby("metric", sort=False):
        arrow = ARROWS[scores["higher_is_better"].iloc[0]]
        columns[f"{metric_label(str(name))} {arrow}".strip()] = scores.set_index("method")["value"].round(4)
    return pd.DataFrame(columns).dropna(axis="columns", how="all").reset_index(drop=True)


def page(config: DictConfig) -> Any:
    """The page as a gradio Blocks. One run at a time, in the order of asking; the pipeline is loaded with the first.

    Raises:
        ImportError: gradio is not installed; names the extra.
    """
    _check_gradio()
    import gradio as gr

    stopped: set[str | None] = set()
    pipeline = functools.cache(lambda: load_pipeline(config))

    def begin(request: gr.Request) -> None:
        stopped.discard(request.session_hash)

    def stop(request: gr.Request) -> None:
        stopped.add(request.session_hash)

    def compare(
        prompt: str,
        duration_s: float,
        steps: int,
        seed: int,
        methods: list[str],
        request: gr.Request,
        bars: gr.Progress = gr.Progress(track_tqdm=True),  # noqa: B008
    ) -> tuple[str, pd.DataFrame, str]:
        def stop_if_asked() -> None:
            if request.session_hash in stopped:
                raise Stopped("stopped; finished clips are kept, the same settings go on")

        try:
            one = asked(config, prompt, duration_s, steps, seed, methods)
            stop_if_asked()
            prepare_torch(config)
            run_dir = make(one, pipeline(), stop_if_asked)
        except (Stopped, *USER_ERRORS) as error:
            raise gr.Error(html.escape(describe_error(error)), print_exception=False) from error
        where = f"/runs/{run_dir.name}"
        frame = (
            f'<iframe src="{where}/{PAGE}" title="Listening page" style="width:100%;height:40rem;border:0"></iframe>'
        )
        links = " · ".join(f"[{name}]({where}/{name})" for name in (RECORDS_FILE, "report.md", PAGE))
        return frame, table(run_dir, config.timing.baseline), f"{WHAT_IT_SAYS} In `{run_dir}`: {links}"

    return _laid_out(config, begin, compare, stop)


def _laid_out(
    config: DictConfig, begin: Callable[..., None], compare: Callable[..., Any], stop: Callable[..., None]
) -> Any:
    """The page's elements, and what its two buttons do."""
    import gradio as gr

    labels = [(str(method.label), name) for name, method in config.methods.items()]
    with gr.Blocks(title="LiteFocus", analytics_enabled=False) as blocks:
        gr.Markdown(f"# LiteFocus\nThe same noise, dense and sparse. Pipeline: {config.pipeline.name}.")
        prompt = gr.Textbox(EXAMPLES[0], label="Prompt", lines=2, max_length=MAX_CAPTION_CHARACTERS)
        gr.Examples([[text] for text in EXAMPLES], [prompt])
        with gr.Row():
            length = gr.Dropdown(list(map(float, config.durations)), label="Length, s")
            steps = gr.Slider(1, 200, config.steps, step=1, label="Denoising steps")
            seed = gr.Number(config.seeds[0], label="Seed", precision=0)
        methods = gr.CheckboxGroup(labels, value=list(CHOSEN), label="Methods")
        with gr.Row():
            go = gr.Button("Compare", variant="primary", elem_id="compare")
            halt = gr.Button("Stop", elem_id="stop")
        rows = gr.Dataframe(label="Seconds and scores", elem_id="rows")
        player = gr.HTML()
        links = gr.Markdown(elem_id="links")
        given = [prompt, length, steps, seed, methods]
        go.click(begin, queue=False).then(compare, given, [player, rows, links])
        halt.click(stop, queue=False)
    return blocks.queue(max_size=16)


def serve(config: DictConfig) -> tuple[Any, str]:
    """Start serving the page in the background; returns it and its address."""
    blocks = page(config)
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles

    files = Mount("/runs", StaticFiles(directory=config.out_dir))
    _, url, _ = blocks.launch(
        server_name=config.app.host, server_port=config.app.port, app_kwargs={"routes": [files]},
        prevent_thread_lock=True, quiet=True, share=False, ssr_mode=False, footer_links=[],
    )  # fmt: skip
    return blocks, str(url)


def _check_gradio() -> None:
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    if importlib.util.find_spec("gradio") is None:
        raise ImportError("the page needs gradio, which is not installed: pip install -e '.[app]'")


def main() -> None:
    """The command line: key=value words as `experiments.run` takes them."""
    with one_line_errors():
        print_what_was_asked(sys.argv[1:], "config", __doc__)
        blocks, url = serve(configured(sys.argv[1:]))
        print(f"{url} (Ctrl-C ends it)", flush=True)
        blocks.block_thread()


if __name__ == "__main__":
    main()
