"""Fine-tuning from the command line: all weights of the file, a tenth of the rates, photos kept apart are measured."""

from __future__ import annotations

import json
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
import yaml

from clicklab.commands.main import main
from data_modules.datasets import Folder, Shapes
from data_modules.tools.export_shapes import export_scenes

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
SMALL = ["--data.init_args.batch_size=2", "--data.init_args.epoch_length=4", "--data.init_args.num_workers=0"]
SMALL += ["--trainer.accelerator=cpu", "--trainer.max_epochs=1", "--trainer.enable_progress_bar=false"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    export_scenes(Shapes(length=6, size=64), folder, "folder")
    return folder


def overlay(method, name):
    """The file that the Makefile takes for a word of VARIANT."""
    own = EXPERIMENTS / method / f"{name}.yaml"
    return own if own.exists() else EXPERIMENTS / "_base" / f"{name}.yaml"


def fit(method, folder, *names, more=()):
    smoke = yaml.safe_load((EXPERIMENTS / method / "smoke.yaml").read_text())
    size = folder / "size.yaml"
    folder.mkdir(exist_ok=True)
    kept = {
        key: smoke["data"]["init_args"][key]
        for key in ("crop_size", "targets", "zoom")
        if key in smoke["data"]["init_args"]
    }
    model = {**smoke["model"]["init_args"]}
    if "finetune" in names:  # what the overlay itself has to say
        model.pop("pretrained", None)
        model.pop("network", None)
    size.write_text(yaml.safe_dump({"model": {"init_args": model}, "data": {"init_args": kept}}))
    paths = [EXPERIMENTS / "_base" / "trainer.yaml", EXPERIMENTS / method / "config.yaml", size]
    paths += [overlay(method, name) for name in names]
    configs = [word for path in paths for word in ("--config", str(path))]
    return main(["fit", *configs, *SMALL, f"--trainer.default_root_dir={folder}", *more])


def started(monkeypatch):
    """What a run begins with: the network's weights and the rates of the optimiser."""
    seen = {}

    def look(module):
        seen["weights"] = {name: value.clone() for name, value in module.network.state_dict().items()}
        seen["rates"] = [group["lr"] for group in module.optimizers().param_groups]

    monkeypatch.setattr(pl.LightningModule, "on_train_start", look)
    return seen


@pytest.mark.parametrize("method", ["simpleclick", "focalclick"])
def test_a_run_goes_on_from_a_whole_network(method, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("PHOTOS", str(photos))
    first = started(monkeypatch)
    assert fit(method, tmp_path / "first", "photos") == 0
    trained = tmp_path / "first" / "checkpoints" / "last.ckpt"
    monkeypatch.setenv("FROM", str(trained))
    second = started(monkeypatch)
    assert fit(method, tmp_path / "second", "finetune", "photos") == 0
    state = torch.load(trained, weights_only=True)["state_dict"]
    assert all(torch.equal(value, state[f"network.{name}"]) for name, value in second["weights"].items())
    assert second["rates"] == pytest.approx([0.1 * rate for rate in first["rates"]])
    (validation,) = (tmp_path / "second" / "results" / "val").iterdir()
    measured = json.loads((validation / "results.json").read_text())["datasets"]["photos"]["objects"]
    apart = Folder(photos, keep_apart=5, apart=True)
    assert {row["name"] for row in measured} == {apart.scene_name(0)} and len(Folder(photos, keep_apart=5)) == 5


def test_a_network_that_does_not_fit_ends_in_one_line(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PHOTOS", str(photos))
    assert fit("simpleclick", tmp_path / "first", "photos") == 0
    monkeypatch.setenv("FROM", str(tmp_path / "first" / "checkpoints" / "last.ckpt"))
    capsys.readouterr()
    other = ["--model.init_args.network_options.depth=12"]
    for more, said in ((other, "holds a SimpleClickNet("), ([], "wants a network to start from")):
        if not more:
            monkeypatch.delenv("FROM")
        assert fit("simpleclick", tmp_path / "second", "finetune", "photos", more=more) == 2
        assert said in capsys.readouterr().err.strip().splitlines()[-1]
    whole = str(tmp_path / "first" / "checkpoints" / "last.ckpt")
    assert fit("simpleclick", tmp_path / "third", "photos", more=[f"--model.init_args.pretrained={whole}"]) == 2
    assert f"FROM={whole}" in capsys.readouterr().err


def test_too_few_photos_to_keep_one_apart(tmp_path):
    export_scenes(Shapes(length=3, size=64), tmp_path, "folder")
    with pytest.raises(ValueError, match="fewer than 5 images, so that none is kept apart"):
        Folder(tmp_path, keep_apart=5, apart=True)
