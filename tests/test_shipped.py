"""The network that comes along opens by name or without one, is small, and knows what it is for."""

import numpy as np
import pytest

import clicklab
from clicklab import shipped
from clicklab.checkpoint import convert
from data_modules.datasets import open_dataset


def test_opens_without_a_path_and_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert type(clicklab.load()).__name__ == type(clicklab.load("clicklite")).__name__ == "ClickLiteNet"
    (tmp_path / "clicklite").write_text("a file of that name is what one meant")
    with pytest.raises(ValueError, match="clicklite: "):
        clicklab.load("clicklite")


def test_is_small_and_has_a_card():
    file = shipped.shipped_weights()
    card = file.with_suffix(".md")
    assert file.stat().st_size <= 15e6 and "What it is bad at" in card.read_text()
    assert sum(parameter.numel() for parameter in clicklab.load().parameters()) <= 6_000_000


def test_a_copy_without_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "PLACES", (tmp_path,))
    with pytest.raises(FileNotFoundError, match=r"clicklite\.safetensors is missing.*name a checkpoint"):
        clicklab.load()


def test_half_the_bits_are_half_the_size(tmp_path):
    for name, half in (("whole.safetensors", False), ("half.safetensors", True)):
        convert("clicklite", tmp_path / name, half)
    sizes = [(tmp_path / name).stat().st_size for name in ("whole.safetensors", "half.safetensors")]
    assert 0.45 < sizes[1] / sizes[0] < 0.55
    assert next(clicklab.load(tmp_path / "half.safetensors").parameters()).dtype.itemsize == 4


def test_finds_most_of_grabcut_in_three_clicks(shared_data):
    """Far from its figures in the card; a broken file would be farther."""
    dataset = open_dataset("GrabCut", shared_data / "GrabCut")
    found = clicklab.evaluate(clicklab.load(), {"GrabCut": dataset}, limit=8, max_clicks=3)
    assert np.mean(found["datasets"]["GrabCut"]["miou"][2]) > 0.8
