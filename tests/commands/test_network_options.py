"""`--network-option`: other constructor arguments with the same weights."""

from __future__ import annotations

import json

import pytest
import torch

import clicklab
from clicklab.commands.main import main
from clicklab.commands.network_options import network_options
from clicklab.methods import method_package


def test_values_are_read_as_what_they_say():
    assert network_options(["a=3", "b=0.5", "c=iou", "d=[1, 2]", "e=null", "f=x=y"]) == {
        "a": 3, "b": 0.5, "c": "iou", "d": [1, 2], "e": None, "f": "x=y",
    }  # fmt: skip
    for wrong in ("iou", "=3", "a=[1"):
        with pytest.raises(ValueError, match="--network-option"):
            network_options([wrong])


def test_a_score_rule_is_changed_without_training_again(tmp_path, capsys):
    torch.manual_seed(0)
    network = method_package("piclick").build({"variant": "mini", "network_options": {}})
    file = tmp_path / "network.ckpt"
    settings = {"variant": "mini", "network_options": {}}
    weights = {f"network.{key}": value for key, value in network.state_dict().items()}
    torch.save({"clicklab_method": "piclick", "hyper_parameters": settings, "state_dict": weights}, file)
    assert clicklab.load(file, network_options={"score_rule": "iou"}).score_rule == "iou"
    command = ["evaluate", str(file), "--data", "Shapes=?length=2&size=64&split=val", "--output", str(tmp_path / "out")]
    command += ["--max-clicks", "2", "--choice", "automatic", "--network-option", "score_rule=confidence"]
    assert main(command) == 0
    assert "score_rule=confidence" in json.loads((tmp_path / "out" / "results.json").read_text())["run"]["source"]
    assert main([*command[:-1], "score_rule=best"]) == 2
    assert "score_rule" in capsys.readouterr().err.strip().splitlines()[-1]
