"""A method as its experiment files describe it: the module and the data of `experiments/<name>/smoke.yaml`."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningDataModule
from omegaconf import OmegaConf

from clicklab.methods.base import ClickModule
from clicklab.records import Batch

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
RECIPES = sorted(folder.name for folder in EXPERIMENTS.iterdir() if (folder / "smoke.yaml").exists())


def smoke(name: str) -> dict[str, Any]:
    """`smoke.yaml` merged over `config.yaml`: the sections `model` and `data`, without anything to measure."""
    files = [OmegaConf.load(EXPERIMENTS / name / f"{stem}.yaml") for stem in ("config", "smoke")]
    below, above = (OmegaConf.to_container(file, resolve=True) for file in files)
    sections = {part: merged(below[part], above[part]) for part in ("model", "data")}
    sections["data"]["init_args"] |= {"val": None, "test": None}
    return sections


def merged(below: Any, above: Any) -> Any:
    """As the command line merges files: a section that names another class replaces what stood there."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    if above.get("class_path", below.get("class_path")) != below.get("class_path"):
        return above
    return below | {key: merged(below.get(key), value) for key, value in above.items()}


def built(name: str, part: str, parent: type) -> Any:
    """The object of one section, made by the parser that the command line uses."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(parent, part, fail_untyped=False)
    return parser.instantiate(parser.parse_object({part: smoke(name)[part]}))[part]


def built_module(name: str) -> ClickModule:
    """The LightningModule, newly initialised, always with the same weights."""
    torch.manual_seed(0)
    return built(name, "model", ClickModule)


@cache
def recipe_data(name: str) -> tuple[Batch, Any]:
    """A first batch of the training data, and the user who goes with it."""
    data = built(name, "data", LightningDataModule)
    data.setup("fit")
    return next(iter(data.train_dataloader())), data.user
