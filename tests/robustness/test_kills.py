"""Evaluations and trainings that are killed at any moment: what goes on from them ends as if nothing had happened.

The long part: KILLS=300 FITS=180 pytest -m slow tests/robustness/test_kills.py.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from clicklab.methods.simpleclick import SimpleClickNet

REPOSITORY = Path(__file__).resolve().parents[2]
SIZES = {"image_size": 32, "patch_size": 8, "embed_dim": 32, "num_heads": 2, "depth": 8, "head_channels": 8}
SIZES |= {"neck_dims": [4, 8, 8, 8]}
EVALUATE = """
import sys
from clicklab import evaluate, load
from data_modules.datasets import Shapes
evaluate(load(sys.argv[1]), {"Shapes": Shapes(length=12, size=32)}, output=sys.argv[2], max_clicks=6, batch_size=2)
"""


def environment() -> dict[str, str]:
    found = {**os.environ, "PYTHONPATH": f"{REPOSITORY / 'src'}{os.pathsep}{REPOSITORY}", "OMP_NUM_THREADS": "1"}
    found.pop("WANDB_SERVICE", None)
    return found


def killed(command: list[str], seconds: float) -> bool:
    """Starts a command and kills it; whether it was still running."""
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        process.wait(timeout=seconds)
        return False
    except subprocess.TimeoutExpired:
        return True
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def numbers(folder: Path) -> list:
    """Clicks and IoUs of every object."""
    record = json.loads((folder / "results.json").read_text())["datasets"]["Shapes"]
    return [(row["name"], row["clicks"], row["ious"]) for row in record["objects"]]


def whole(folder: Path) -> bool:
    """No file of a run is half of one."""
    for path in folder.rglob("*"):
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".ckpt":
            torch.load(path, weights_only=True)
        elif path.suffix == ".png":
            assert path.read_bytes()[-8:-4] == b"IEND"
    return True


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    state = {f"network.{key}": value for key, value in SimpleClickNet(**SIZES).state_dict().items()}
    settings = {"variant": None, "network_options": SIZES}
    path = tmp_path_factory.mktemp("weights") / "x.ckpt"
    torch.save({"clicklab_method": "simpleclick", "hyper_parameters": settings, "state_dict": state}, path)
    return path


@pytest.mark.slow
def test_killed_evaluations(tmp_path, weights, capsys):
    command = [sys.executable, "-c", EVALUATE, str(weights)]
    began = time.perf_counter()
    subprocess.run([*command, str(tmp_path / "straight")], cwd=REPOSITORY, env=environment(), check=True)
    needed = time.perf_counter() - began
    right, rng, kills, folder = numbers(tmp_path / "straight"), random.Random(0), 0, 0
    while kills < int(os.environ.get("KILLS", "300")):
        folder += 1
        for _ in range(5):
            if not killed([*command, str(tmp_path / str(folder))], rng.uniform(0.5, 1.05) * needed):
                break
            kills += 1
            assert whole(tmp_path / str(folder))
        else:
            subprocess.run([*command, str(tmp_path / str(folder))], cwd=REPOSITORY, env=environment(), check=True)
        assert numbers(tmp_path / str(folder)) == right
    with capsys.disabled():
        print(f"\n{kills} kills of evaluate in {folder} folders: 0 other results, 0 torn files")


@pytest.mark.slow
def test_killed_trainings(tmp_path, capsys):
    recipe = ("_base/trainer", "simpleclick/config", "simpleclick/smoke")
    command = [
        sys.executable,
        "-m",
        "clicklab.commands.main",
        "fit",
        "--trainer.max_epochs=4",
        "--data.init_args.val=null",
    ]
    command += [part for name in recipe for part in ("--config", f"experiments/{name}.yaml")]

    def last(name: str) -> dict:
        return torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]

    began = time.perf_counter()
    straight = [*command, f"--trainer.default_root_dir={tmp_path / 'straight'}"]
    subprocess.run(straight, cwd=REPOSITORY, env=environment(), check=True, capture_output=True)
    needed = time.perf_counter() - began
    right, rng, kills, folder = last("straight"), random.Random(1), 0, 0
    while kills < int(os.environ.get("FITS", "180")):
        folder += 1
        run = [*command, f"--trainer.default_root_dir={tmp_path / str(folder)}"]
        for _ in range(5):
            if not killed(run, rng.uniform(0.5, 1.05) * needed):
                break
            kills += 1
            assert whole(tmp_path / str(folder))
        subprocess.run(run, cwd=REPOSITORY, env=environment(), check=True, capture_output=True)
        assert all(torch.equal(value, right[key]) for key, value in last(str(folder)).items())
    with capsys.disabled():
        print(f"\n{kills} kills of fit in {folder} folders: 0 other weights, 0 torn files")
