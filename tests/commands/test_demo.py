"""`clicklab demo` at a tiny size: it ends with all its files and three lines that say what to do next."""

from __future__ import annotations

import clicklab
from clicklab.commands.shapes_demo import ambiguous, demo, first_click, shapes


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
