"""Every benchmark runs at a small size and writes its record; no time is asserted."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from clicklab.methods import method_package
from data_modules.datasets import Shapes, open_dataset
from data_modules.datasets.bsds import free_ids
from data_modules.tools.export_shapes import export_scenes

REPOSITORY = Path(__file__).resolve().parents[1]
SMALL = {
    "annotate": "--photos 4 --people 3 --size 400 300",
    "next_click": "--batch 2 --side 64 --repeats 1",
    "data": "--samples 4",
    "hours": "--only simpleclick:sbd",
    "export": "--objects 2 --clicks 2",
    "exported_clicks": "--only vtmr --objects 2 --clicks 2",
    "evaluate": "--variant mini --objects 2 --side 64 --clicks 2 --batch 2",
    "model_cost": "--only simpleclick:mini icmformer:swin_mini --seconds 1",
    "first_click": "--scenes 2",
    "goals": "--every 8 --clicks 2 --rounds 1",
    "step_cost": "--only simpleclick:mini",
    "shards": "--scenes 16 --drawn 4 --size 64 96 --only files resume equal store",
    "shard_libraries": "--scenes 6",
    "walk": "session",
    "train_step": "--variant mini --batch 2 --crop 64 --side 96 --steps 1 --workers 0",
}


def run(name: str, arguments: list[str], folder: Path) -> tuple[dict[str, Any], str]:
    """The record and what was printed."""
    script, record = REPOSITORY / "benchmarks" / f"{name}.py", folder / "record.json"
    command = [sys.executable, str(script), *arguments, "--output", str(record)]
    paths = os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY)])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(record.read_text()), done.stdout


@pytest.mark.parametrize("name", sorted(path.stem for path in (REPOSITORY / "benchmarks").glob("*.py")))
def test_benchmark_runs(name, tmp_path):
    record, printed = run(name, SMALL[name].split(), tmp_path)
    assert record and printed.strip()


def test_a_step_of_cfr_icl_costs_three_learnt_passes(tmp_path):
    """Three passes with their backward passes of twice the work and one without; else 1.5 without and one with."""
    record, _ = run("step_cost", ["--only", "simpleclick:mini", "cfr_icl:mini"], tmp_path)
    plain, costly = record["networks"]
    assert costly["method"] == "cfr_icl" and costly["crop"] == plain["crop"]
    assert costly["arithmetic"] / plain["arithmetic"] == pytest.approx((3 * 3 + 1) / (3 + 1.5), rel=0.02)
    run("train_step", ["--method", "cfr_icl", *SMALL["train_step"].split(), "--ways", "32-true"], tmp_path)


def saved(method: str, folder: Path) -> str:
    """An untrained network as a checkpoint of ours."""
    torch.manual_seed(0)
    settings = {"variant": "mini", "network_options": {"image_size": 64, "patch_size": 8}}
    weights = {f"network.{key}": value for key, value in method_package(method).build(settings).state_dict().items()}
    path = folder / f"{method}.ckpt"
    torch.save({"clicklab_method": method, "hyper_parameters": settings, "state_dict": weights}, path)
    return str(path)


def test_first_clicks_and_dialogues_on_a_dataset(tmp_path):
    """The two ways to the IoU of the first click, all candidates compared and the dialogue played, agree."""
    names = sorted(free_ids())[:4]
    scenes = [replace(Shapes(length=4, size=64)[n], name=name) for n, name in enumerate(names)]
    export_scenes(scenes, tmp_path / "BSDS500", "bsds", split="val")
    paths = [saved(method, tmp_path) for method in ("simpleclick", "disnet")]
    data = ["--data", f"BSDS500={tmp_path / 'BSDS500'}", "--split", "val", "--limit", "9", "--device", "cpu"]
    record, printed = run("first_click", [*paths, *data, "--clicks", "3", "--whole-image"], tmp_path)
    single, several = (record["networks"][path]["figures"] for path in paths)
    read = open_dataset("BSDS500", tmp_path / "BSDS500", split="val")
    drawn = {name: read[n].objects for n, name in enumerate(names)}
    for path in paths:
        rows = record["networks"][path]["objects"]
        assert len(rows) + record["networks"][path]["skipped"] == 9
        assert {row["name"] for row in rows} == set(names)  # from all images
        for row in rows:
            assert (row["kind"] == "part") == bool(drawn[row["name"]][row["object"]].parent)
            assert all(len(ious) == 3 for ious in row["clicks"].values())
    for figures in (single, several):
        for found in figures.values():
            assert found["chosen"] == pytest.approx(found["clicks, by score"][0], abs=1e-6)
    for found in single.values():
        assert found["best"] == found["chosen"] == pytest.approx(found["random"])
        assert found["overlap"] == 1 and "clicks, by ground truth" not in found
    for found in several.values():
        assert found["best"] == pytest.approx(found["clicks, by ground truth"][0], abs=1e-6)
        assert found["random"] < found["best"] and found["overlap"] < 1
    assert "by ground truth" in printed


def test_hours_are_samples_over_speed(tmp_path):
    """SimpleClick: 55 epochs of 937 whole batches. RITM's batch of 28 does not divide over 8 devices."""
    for batch, speed in ((32, 100.0), (4, 80.0)):
        record = {"method": "simpleclick", "variant": "base", "crop": 448, "batch": batch}
        record["rows"] = {"bf16-mixed": {"samples per second": speed}}
        (tmp_path / f"batch{batch}.json").write_text(json.dumps(record))
    files = [str(path) for path in sorted(tmp_path.glob("batch*.json"))]
    learnt = {"method": "cfr_icl", "variant": "base", "crop": 448, "batch": 140}
    learnt["rows"] = {"bf16-mixed": {"samples per second": 50.0}}
    (tmp_path / "cfr.json").write_text(json.dumps(learnt))
    wanted = ["simpleclick", "ritm", "cfr_icl", "cfr_icl:no_icl"]
    options = [*files, str(tmp_path / "cfr.json"), "--only", *wanted, "--efficiency", "0.5"]
    record, _ = run("hours", options, tmp_path)
    simpleclick, ritm, cfr_icl, plain = record["recipes"]
    assert cfr_icl["one"]["samples per second"] == 50  # every round is learnt from
    assert plain["one"]["samples per second"] == 100  # only the last one, as SimpleClick does
    assert simpleclick["steps"] == 55 * 937 and simpleclick["samples"] == 55 * 937 * 32
    assert simpleclick["one"]["hours"] == pytest.approx(55 * 937 * 32 / 100 / 3600)
    assert simpleclick["several"]["hours"] == pytest.approx(55 * 937 * 32 / (80 * 8 * 0.5) / 3600)
    # 96.46 million parameters (paper), 7/4 of their gradients at 100 GB/s, in a step of 4 samples
    assert simpleclick["several"]["all-reduce"] == pytest.approx(96.46e6 * 4 * 7 / 4 / 100e9 / (4 / 80), rel=0.02)
    assert (ritm["devices"], ritm["batch"]) == (7, 28) and "one" not in ritm


def test_hours_of_steps_that_nobody_measured(tmp_path):
    """At the measured rates: 100 operations in a tenth of a second, 3200 units of arithmetic in one."""
    for batch, speed in ((32, 32.0), (1, 10.0)):
        rows = {"bf16-mixed": {"samples per second": speed}}
        record = {"method": "simpleclick", "variant": "base", "crop": 448, "batch": batch, "rows": rows}
        (tmp_path / f"batch{batch}.json").write_text(json.dumps(record))
    networks = [
        {"method": method, "variant": variant, "started": started, "arithmetic": arithmetic}
        for method, variant, started, arithmetic in (
            ("simpleclick", "base", 100, 100),
            ("simpleclick", "large", 200, 400),
            ("ritm", "hrnet18s", 5000, 1),
        )
    ]
    (tmp_path / "costs.json").write_text(json.dumps({"networks": networks}))
    files = [str(tmp_path / f"batch{batch}.json") for batch in (1, 32)]
    wanted = ["simpleclick", "simpleclick:large", "ritm:hrnet18s", "piclick"]
    record, printed = run("hours", [*files, "--costs", str(tmp_path / "costs.json"), "--only", *wanted], tmp_path)
    base, large, ritm, piclick = record["recipes"]
    assert not base["estimated"] and base["one"]["samples per second"] == 32
    assert large["estimated"] and large["one"]["samples per second"] == pytest.approx(3200 / 400)
    assert large["several"]["hours"] == pytest.approx(large["samples"] / (3200 / 400 * 8 * 0.9) / 3600)
    assert ritm["one"]["hours"] == pytest.approx(ritm["steps"] * 5 / 3600)  # 5000 to be started, 1000 in a second
    assert "one" not in piclick
    assert [line.count("~") for line in printed.splitlines()[-4:]] == [0, 2, 2, 0]


def test_hours_of_a_recipe_without_a_length_count_the_published_scenes():
    file = REPOSITORY / "benchmarks" / "hours.py"
    spec = importlib.util.spec_from_file_location("hours", file)
    hours = importlib.util.module_from_spec(spec)
    sys.modules["hours"] = hours  # where its dataclass looks itself up
    spec.loader.exec_module(hours)
    values = hours.settings("simpleclick", ["sbd"])
    values["data"]["init_args"]["epoch_length"] = None
    assert hours.recipe(values).samples == 55 * (8498 // 32) * 32
    (overlays,) = [found for method, found, _ in hours.published([]) if found[-1:] == ["released_coco_lvis_huge"]]
    assert overlays == ["coco_lvis", "released_coco_lvis", "released_coco_lvis_huge"]


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("evaluate", ["--data", "GrabCut=nowhere"], "data_GT is missing"),
        ("first_click", ["nowhere.ckpt"], "no checkpoint file at nowhere.ckpt"),
        ("hours", ["nowhere.json"], "nowhere.json"),
        ("data", ["--data", "SBD=nowhere"], "folder nowhere is missing"),
        ("step_cost", ["--only", "foo"], "unknown method 'foo'"),
    ],
)
def test_a_mistake_ends_in_one_line(name, arguments, words, tmp_path):
    script = REPOSITORY / "benchmarks" / f"{name}.py"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY)])}
    command = [sys.executable, str(script), *arguments, "--output", str(tmp_path / "record.json")]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
    said = ended.stderr.strip().splitlines()[-1]
    assert said.startswith(f"{name}.py: error: ") and words in said
