"""`clicklab demo` at a tiny size: it ends with all its files and three lines that say what to do next."""

from __future__ import annotations

import clicklab
from clicklab.demo import demo


def test_demo_makes_what_it_says(tmp_path, capsys):
    results = demo(tmp_path, steps=10, scenes=2)
    assert list(results) == ["SimpleClick, trained", "SimpleClick, untrained", "disks around the clicks"]
    for name in ("table.txt", "curve.png", "pictures.png", "results.json", "demo.ckpt"):
        assert (tmp_path / name).stat().st_size > 0
    table = (tmp_path / "table.txt").read_text()
    assert all(name in table for name in results)
    said = capsys.readouterr().out.strip().splitlines()[-3:]
    assert "Made in" in said[0] and "clicklab evaluate" in said[1] and "make train-simpleclick" in said[2]
    clicklab.load(tmp_path / "demo.ckpt")
