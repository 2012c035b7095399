"""One function from a name to a network: files, peers, factories; and its errors, each with the remedy."""

from __future__ import annotations

import sys

import pytest
import torch

import clicklab
from clicklab.commands.main import main
from clicklab.nn.network import ClickNetwork
from clicklab.peers.grabcut import GrabCut


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    """`my_nets` on the path, as a user would write it."""
    (tmp_path / "my_nets.py").write_text(
        "from torch import nn\n"
        "from clicklab import Prediction\n"
        "class Flat(nn.Module):\n"
        "    def __init__(self, level=0.0):\n"
        "        super().__init__()\n"
        "        self.level, self.mask_threshold = level, 0.3\n"
        "    def forward(self, image, clicks, prev_mask):\n"
        "        return Prediction(prev_mask * 0 + self.level)\n"
        "def number(): return 3\n"
        "CONSTANT = 4\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_nets"
    sys.modules.pop("my_nets", None)


def test_a_factory_of_the_user_is_a_click_network(user_module):
    network = clicklab.load(f"{user_module}:Flat", network_options={"level": 2.0})
    assert isinstance(network, ClickNetwork)
    assert network.mask_threshold == 0.3
    logits = network(torch.zeros(1, 3, 8, 9), clicklab.Clicks.empty(1), torch.zeros(1, 1, 8, 9)).logits
    assert logits.shape == (1, 1, 8, 9)
    assert (logits == 2).all()


def test_peers_go_by_their_names():
    assert isinstance(clicklab.load("opencv-grabcut", network_options={"iterations": 2}), GrabCut)


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("no_such_package.nets:make", {}, "PYTHONPATH"),
        ("my_nets:Round", {}, "has no Round"),
        ("my_nets:CONSTANT", {}, "function or class"),
        ("my_nets:number", {}, "gave a int"),
        ("my_nets:Flat", {"depth": 3}, "depth"),
        ("random-walker", {"depth": 3}, "depth"),
        ("sam:facebook/sam-vit-base", {"depth": 3}, "depth"),
    ],
)
def test_what_cannot_be_opened_says_why(user_module, name, options, told):
    with pytest.raises(ValueError, match=told):
        clicklab.load(name, network_options=options)


def test_a_file_that_is_not_there_is_still_a_file():
    with pytest.raises(FileNotFoundError, match=r"missing\.pth"):
        clicklab.load("missing.pth")


def test_a_method_is_for_files_only():
    with pytest.raises(ValueError, match="method"):
        clicklab.load("opencv-grabcut", method="vtmr")


def test_a_missing_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"pip install 'clicklab\[sam\]'"):
        clicklab.load("sam:facebook/sam-vit-base")
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(ValueError, match=r"pip install 'clicklab\[peers\]'"):
        clicklab.load("random-walker")


def test_sam_without_weights_names_the_files(monkeypatch, tmp_path):
    pytest.importorskip("transformers", reason="the extra clicklab[sam] is not installed")
    with pytest.raises(ValueError, match=r"config\.json, preprocessor_config\.json and model\.safetensors"):
        clicklab.load(f"sam:{tmp_path}")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        clicklab.load(f"sam:{tmp_path}/missing")


def test_a_saved_model_of_the_family_is_opened_from_its_folder(tmp_path):
    pytest.importorskip("transformers", reason="the extra clicklab[sam] is not installed")
    from tiny_sam import tiny_sam

    model, processor = tiny_sam("Sam2")
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    network = clicklab.load(f"sam:{tmp_path}")
    assert network.arguments["source"] == str(tmp_path)
    assert network.class_name == "Sam2Model"
    ours, theirs = network.state_dict(), model.state_dict()
    assert all(torch.equal(ours[f"model.{key}"], value) for key, value in theirs.items())


def test_evaluate_measures_a_factory_by_name(user_module, tmp_path, capsys):
    arguments = [
        "evaluate",
        f"{user_module}:Flat",
        "--network-option",
        "level=1.5",
        "--data",
        "Shapes=?size=32&length=2",
    ]
    code = main([*arguments, "--limit", "2", "--max-clicks", "2", "--output", str(tmp_path), "--device", "cpu"])
    assert code == 0, capsys.readouterr().err
    assert "NoC@90" in capsys.readouterr().out
