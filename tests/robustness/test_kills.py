"""Evaluations and trainings that are killed at any moment: what goes on from them ends as if nothing had happened.

The long part: KILLS=300 FITS=180 pytest tests/robustness/test_kills.py; figures: README.md beside.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
import torch
from killable import Killer, evaluate_shapes, fit
from open_damaged import sound_content

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = ("_base/trainer", "simpleclick/config", "simpleclick/smoke")
RECIPE = [REPOSITORY / "experiments" / f"{name}.yaml" for name in FILES]
IN_A_ROW = 5  # kills of one run before it may end


def numbers(folder: Path) -> list:
    """Clicks and IoUs of every object."""
    record = json.loads((folder / "results.json").read_text())["datasets"]["Shapes"]
    return [(row["name"], row["clicks"], row["ious"]) for row in record["objects"]]


def assert_no_file_is_torn(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".ckpt":
            torch.load(path, weights_only=True)
        elif path.suffix == ".png":
            assert path.read_bytes()[-8:-4] == b"IEND"


@pytest.fixture(scope="module")
def killer() -> Killer:
    return Killer()


@pytest.mark.timeout(0)
def test_killed_evaluations(tmp_path, killer, capsys):
    weights = tmp_path / "weights.ckpt"
    torch.save(sound_content(), weights)
    needed = killer.run(evaluate_shapes, weights, tmp_path / "straight")
    right = numbers(tmp_path / "straight")
    wanted, kills, folders, rng = int(os.environ.get("KILLS", "2")), 0, 0, random.Random(0)
    while kills < wanted:
        folders += 1
        folder = tmp_path / str(folders)
        for _ in range(min(IN_A_ROW, wanted - kills)):
            if not killer.killed(rng.uniform(0, 1) * needed, evaluate_shapes, weights, folder):
                break
            kills += 1
            assert_no_file_is_torn(folder)
        killer.run(evaluate_shapes, weights, folder)
        assert numbers(folder) == right
    with capsys.disabled():
        print(f"\n{kills} kills of evaluate in {folders} folders: 0 other results, 0 torn files")


@pytest.mark.timeout(0)
def test_killed_trainings(tmp_path, killer, capsys):
    def arguments(name: str) -> list[str]:
        given = [f"--config={path}" for path in RECIPE]
        given += ["--ckpt_path=last", "--trainer.max_epochs=3", "--data.init_args.val=null"]
        return [*given, f"--trainer.default_root_dir={tmp_path / name}"]

    def weights(name: str) -> dict[str, torch.Tensor]:
        return torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]

    needed = killer.run(fit, arguments("straight"))
    right = weights("straight")
    wanted, kills, folders, rng = int(os.environ.get("FITS", "1")), 0, 0, random.Random(1)
    while kills < wanted:
        folders += 1
        for _ in range(min(IN_A_ROW, wanted - kills)):
            if not killer.killed(rng.uniform(0, 1) * needed, fit, arguments(str(folders))):
                break
            kills += 1
            assert_no_file_is_torn(tmp_path / str(folders))
        killer.run(fit, arguments(str(folders)))
        found = weights(str(folders))
        assert found.keys() == right.keys()
        assert all(torch.equal(found[key], value) for key, value in right.items())
    with capsys.disabled():
        print(f"\n{kills} kills of fit in {folders} folders: 0 other weights, 0 torn files")
