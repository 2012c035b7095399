"""Folders for a model hub: what is saved is loaded again, and the card says what it is."""

from __future__ import annotations

import json

import pytest
import torch

import clicklab
from clicklab.checkpoint import hub_folder
from clicklab.methods import method_package
from data_modules.datasets import Shapes


def test_a_saved_folder_is_loaded_again(tmp_path):
    torch.manual_seed(0)
    network = method_package("ritm").build({"variant": "mini", "network_options": {}}).eval()
    data = Shapes(length=2, size=64, split="val")
    results = clicklab.evaluate(network, {"Shapes": data}, max_clicks=2, limit=2)
    folder = clicklab.save(network, tmp_path / "hub", licence="MIT", source="made up", results=results)
    again = clicklab.load(folder)
    assert type(again) is type(network) and again.arguments == network.arguments
    for (name, wanted), (other, found) in zip(network.state_dict().items(), again.state_dict().items(), strict=True):
        assert name == other and torch.equal(wanted, found)
    config = json.loads((folder / "config.json").read_text())
    assert config["method"] == "ritm" and config["arguments"]["width"] == 4
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: clicklab") and "license: mit" in card and "| Shapes | 2 |" in card


def test_a_network_of_no_method_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no known method"):
        clicklab.save(torch.nn.Linear(1, 1), tmp_path)


def test_a_name_on_the_hub_that_cannot_be_fetched_is_one_line(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match="check the name and the connection") as error:
        hub_folder("hf:nobody/nothing at all")
    assert "\n" not in str(error.value)
