"""`clicklab demo` at a tiny size: it ends with all its files and three lines that say what to do next."""

from __future__ import annotations

import signal

import lightning.pytorch as pl
import pytest

import clicklab
from clicklab.commands.shapes_demo import ambiguous, demo, first_click, shapes, train


def test_demo_makes_what_it_says(tmp_path, capsys):
    results = demo(tmp_path, steps=10, scenes=3)
    assert list(results) == ["PiClick", "untrained", "disks"]
    assert list(results["PiClick"]["datasets"]) == ["Shapes", "Shapes-oracle"]
    for name in (
        "table.txt",
        "curve.png",
        "pictures.png",
        "candidates.png",
        "clicklite.png",
        "results.json",
        "demo.ckpt",
    ):
        assert (tmp_path / name).stat().st_size > 0
    table = (tmp_path / "table.txt").read_text()
    assert all(name in table for name in results)
    said = capsys.readouterr().out.strip().splitlines()[-6:]
    assert "the user picks" in said[0]
    assert "Made in" in said[2] and "clicklite.png" in said[3] and "clicklab evaluate" in said[4]
    assert "make train-piclick" in said[5]
    clicklab.load(tmp_path / "demo.ckpt")


def test_ambiguous_clicks_lie_on_several_objects():
    scenes = shapes("val", 12)
    found = ambiguous(scenes, 4)
    assert len(found) == len({item.name for item in found}) == 4
    for item in found:
        scene = scenes[int(item.name.split("_")[-1])]
        y, x = first_click(item)
        assert item.target[y, x] == 1
        under = [key for key, entry in scene.objects.items() if not entry.stuff and scene.mask(key)[y, x] == 1]
        assert len(under) > 1 and item.object in under


def test_ctrl_c_ends_the_training_and_the_demo_goes_on(tmp_path, capsys, monkeypatch):
    """After three of ten steps; what they taught is measured and kept."""
    seen = []

    def interrupt(self, *_):
        seen.append(1)
        if len(seen) == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(pl.LightningModule, "on_before_zero_grad", interrupt)
    demo(tmp_path, steps=10, scenes=2)
    assert "Stopped after 3 of 10 steps" in capsys.readouterr().out
    assert len(seen) == 3
    clicklab.load(tmp_path / "demo.ckpt")


@pytest.mark.parametrize("steps", [1, 13])
def test_as_many_steps_as_asked_for(tmp_path, steps):
    assert train(steps, tmp_path).trainer.global_step == steps
