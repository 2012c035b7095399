"""Every benchmark runs at a small size and writes its record; no time is asserted."""

from __future__ import annotations

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
from data_modules.export_shapes import export_scenes

REPOSITORY = Path(__file__).resolve().parents[1]
SMALL = {
    "next_click": "--batch 2 --side 64 --repeats 1",
    "data": "--samples 4",
    "evaluate": "--variant mini --objects 2 --side 64 --clicks 2 --batch 2",
    "model_cost": "--only simpleclick:mini icmformer:swin_mini --seconds 1",
    "first_click": "--scenes 2",
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
    names = sorted(free_ids())[:4]  # other names count as benchmark images
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
