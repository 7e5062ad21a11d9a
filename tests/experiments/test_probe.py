"""The probe command on the shipped testbed: what it writes, and that it resumes without doing anything twice."""

import re
import sys

import pytest
import torch
from hydra import compose, initialize_config_dir

from experiments.pipelines.latents import audioldm_log_mel, encode_files
from experiments.probe import loss_jobs, main, probe, token_rate
from experiments.records import AttentionRecord, ProbeLossRecord, ProbeRunRecord, of_kind, read_records
from experiments.records.folder import PROBE_KEYS, check_same_settings
from experiments.stages.setup import load_pipeline, resolved
from experiments.system.cli import CONF_DIR

SMALL = (
    *("data.count=2", "durations=[1.28,2.56]", "levels=[600]", "noise_seeds=[0,1]", "key_seeds=[7]"),
    *("attention.clips=1", "attention.levels=[600]", "threads=1", "~methods.uniform", "~methods.focus_only"),
)


def composed(*overrides):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        return compose(config_name="probe", overrides=list(overrides))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("probe")
    probe(composed(*SMALL, f"out_dir={folder}"))
    return folder


def test_the_first_noise_draw_comes_first_with_controls_and_fresh_keys():
    jobs = [
        job.place for job in loss_jobs(composed("durations=[1]", "levels=[500]", "noise_seeds=[3,4]", "key_seeds=[7]"))
    ]
    sampled = ["dense", "litefocus", "focus_only", "compensation_only"]
    assert [(noise, method, keys) for _, _, noise, method, keys in jobs] == [
        *((3, method, None) for method in [*sampled, "deleted", "uniform"]),
        (3, "litefocus", 7),
        *((4, method, None) for method in sampled),
    ]


def test_any_sweep_can_be_probed_with_the_controls():
    config = composed("sweep=sparsity")
    assert config.methods.ratio_20.patch.config.sparse_ratio == 0.2
    assert config.methods.deleted.name == "deleted"
    assert config.out_dir == "runs/probes"


def test_every_reading_is_a_record_with_a_loss_per_clip(finished):
    records = read_records(finished)
    (start,) = of_kind(records, ProbeRunRecord)
    losses = {(r.duration_s, r.noise_seed, r.method, r.key_seed): r.losses for r in of_kind(records, ProbeLossRecord)}
    first = [("dense", None), ("litefocus", None), ("compensation_only", None), ("deleted", None), ("litefocus", 7)]
    expected = {(d, 0, *which) for d in (1.28, 2.56) for which in first}
    assert set(losses) == expected | {(d, 1, *which) for d in (1.28, 2.56) for which in first[:3]}
    assert all(len(values) == 2 and min(values) > 0 for values in losses.values())
    assert losses[2.56, 0, "deleted", None] != losses[2.56, 0, "dense", None]
    assert losses[2.56, 0, "litefocus", 7] != losses[2.56, 0, "litefocus", None]
    sites = of_kind(records, AttentionRecord)
    assert len(sites) == 2 * 12
    assert {site.structure["frames"] for site in sites} == {10, 20}
    assert all(site.clip_ids == start.prompt_ids[:1] for site in sites)


def test_running_again_takes_only_what_is_missing(finished):
    path = finished / "records.jsonl"
    before = path.read_bytes()
    readings = losses_of(finished)
    probe(composed(*SMALL, f"out_dir={finished}"))
    assert path.read_bytes() == before
    path.write_bytes(before[:-30])
    probe(composed(*SMALL, f"out_dir={finished}"))
    assert losses_of(finished) == readings
    starts = of_kind(read_records(finished), ProbeRunRecord)
    taken = [record.run_id for record in of_kind(read_records(finished), ProbeLossRecord)]
    assert [taken.count(start.run_id) for start in starts] == [len(readings) - 1, 1]


def test_a_place_that_was_interrupted_between_its_sites_is_taken_again(finished, tmp_path):
    lines = (finished / "records.jsonl").read_bytes().splitlines(keepends=True)
    of_sites = [line for line in lines if b'"kind": "attention"' in line]
    others = [line for line in lines if line not in of_sites]
    (tmp_path / "records.jsonl").write_bytes(b"".join([others[0], *of_sites[:5], *of_sites[12:], *others[1:]]))
    probe(composed(*SMALL, f"out_dir={tmp_path}"))
    sites = of_kind(read_records(tmp_path), AttentionRecord)
    assert len({site.structure["site"] for site in sites if site.duration_s == 1.28}) == 12
    assert len(sites) == 5 + 12 + 12


def test_other_settings_than_the_readings_that_are_there_are_refused(finished):
    before = (finished / "records.jsonl").read_bytes()
    change = "methods.litefocus.patch.config.sparse_ratio=0.9"
    with pytest.raises(
        ValueError, match=r"method litefocus\.patch\.config\.sparse_ratio was 0\.1, now 0\.9; set another"
    ):
        probe(composed(*SMALL, change, f"out_dir={finished}"))
    assert (finished / "records.jsonl").read_bytes() == before


def test_the_study_takes_more_noise_draws():
    starts = of_kind(read_records(CONF_DIR.parent / "results" / "testbed"), ProbeRunRecord)
    for more in (["noise_seeds=[1,2]", "key_seeds=[]"], ["key_seeds=[3]", "out_dir=/tmp/elsewhere"]):
        now = resolved(composed("data.count=64", "out_dir=results/testbed", *more))
        check_same_settings(starts, now, PROBE_KEYS)


def losses_of(folder):
    return [(r.method, r.duration_s, r.noise_seed, r.losses) for r in of_kind(read_records(folder), ProbeLossRecord)]


def test_wrong_inputs_are_named(tmp_path):
    with pytest.raises(ValueError, match="probes need real audio: set data.references"):
        probe(composed(*SMALL, "data.references=null", f"out_dir={tmp_path}"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("levels=[5000]", "levels [5000]: accepted are training timesteps, whole numbers from 0 to 999"),
        ("attention.levels=[500,-1]", "attention.levels [500, -1]: accepted are training timesteps"),
        ("durations=[0.001]", "clips of at least"),
        ("device=0", "device 0: accepted are auto, cpu, cuda and cuda:N"),
        ("out_dir=/proc/nowhere", "/proc/nowhere cannot be written"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, override, message):
    monkeypatch.setattr(sys, "argv", ["probe", *SMALL, f"out_dir={tmp_path}", override])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "records.jsonl").exists()


def test_latents_are_of_the_pipelines_own_grid(finished):
    config = composed("threads=1")
    pipeline = load_pipeline(config)
    files = sorted((finished / "references" / "2.56s").glob("*.wav"))
    with pytest.raises(ValueError, match=re.escape("the front end gives latents of (64, 16)")):
        encode_files(pipeline, audioldm_log_mel, files, 2.56)
    with pytest.raises(ValueError, match=r"2\.56 s of audio, the probe asks for 5\.12 s"):
        encode_files(pipeline, audioldm_log_mel, files, 5.12)
    assert token_rate(pipeline, 2.56) == pytest.approx(16000 / 256 / 4 / 2)


def test_the_published_front_end_sees_a_tone_in_its_own_band():
    time_s = torch.arange(16000) / 16000
    mel = audioldm_log_mel(torch.sin(2 * torch.pi * 1000 * time_s)[None])
    assert mel.shape == (1, 100, 64)
    loud = int(mel[0, 50].argmax())
    # Slaney's scale: 15 mels up to 1 kHz, 27 per factor 6.4 above; 64 bands share 0 to 8 kHz.
    top = 15 + 27 * torch.log(torch.tensor(8.0)) / torch.log(torch.tensor(6.4))
    assert loud == round(float(15 / top * 65)) - 1
    assert float(mel.min()) >= -11.52
