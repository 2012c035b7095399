"""The runs behind a table: which trainings and evaluations fill it, their commands, and what is missing for them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from clicklab.tables.spec import Row, Table
from clicklab.whole_file import written_whole

FINISHED = "finished.json"  # stands in a run folder whose command ended well
TINY_TRAINING = {  # a run of minutes on a CPU: real photos, small crops
    "crop_size": 64,
    "batch_size": 8,
    "epoch_length": 400,
    "augmentation": "coco_lvis",
    "limit": 5,
    "num_workers": 1,
    "targets": {"merge_prob": 0.0, "stuff_prob": 0.0, "min_object_area": 40, "keep_background_prob": 0.0},
}


@dataclass(frozen=True)
class Site:
    """Where files lie on this machine.

    Attributes:
        experiments: the folder of recipes.
        data: the folder that holds one folder per dataset, named as in the papers.
        checkpoints: the folder of released files.
        runs: where runs are kept.
        tiny: whether rows are trained and measured at the tiny scale.
        on: datasets that take the place of a table's own; empty: the table's own.
        limit: objects per dataset; None: all.
    """

    experiments: Path
    data: Path
    checkpoints: Path
    runs: Path
    tiny: bool = False
    on: tuple[str, ...] = ()
    limit: int | None = None

    def datasets(self, table: Table) -> tuple[str, ...]:
        """The datasets that a table is measured on here."""
        return self.on or table.datasets

    def has(self, dataset: str) -> bool:
        """Whether a dataset's folder is here."""
        return (self.data / dataset).is_dir()


@dataclass(frozen=True)
class Run:
    """One command and its folder.

    Attributes:
        folder: where it writes; two rows with the same training share one.
        command: the arguments behind `clicklab`.
        needs: folders and files without which it cannot start.
    """

    folder: Path
    command: tuple[str, ...]
    needs: tuple[Path, ...] = ()

    @property
    def is_finished(self) -> bool:
        """Whether this very command has ended well in its folder."""
        mark = self.folder / FINISHED
        return mark.is_file() and json.loads(mark.read_text())["command"] == list(self.command)

    @property
    def missing(self) -> tuple[Path, ...]:
        """What it needs and this machine does not have."""
        return tuple(path for path in self.needs if not path.exists())

    def line(self) -> str:
        """The command as a person would type it."""
        return shlex.join(["clicklab", *self.command])


def training(row: Row, site: Site) -> Run | None:
    """The training of a row; None for a peer, and where a released file stands for it."""
    if row.method is None or (released(row, site) is not None and not site.tiny):
        return None
    folder = site.runs / "-".join([row.method, *row.overlays])
    recipe = site.experiments / row.method
    files = [site.experiments / "_base" / "trainer.yaml", recipe / "config.yaml"]
    files += [recipe / f"{overlay}.yaml" for overlay in row.overlays]
    if site.tiny:
        needs = [site.data / "BSDS500", site.data / "GrabCut"]
        files.append(folder / "tiny.yaml")
    else:
        needs = recipe_needs(files, site)
    configs = [word for path in files for word in ("--config", str(path))]
    return Run(folder, ("fit", *configs, f"--trainer.default_root_dir={folder}"), tuple(needs))


def recipe_needs(files: Sequence[Path], site: Site) -> list[Path]:
    """Folders of datasets and released files that a recipe names; a later file replaces whole lists."""
    merged: dict[str, Any] = {}
    for path in files:
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        data = settings.get("data", {}).get("init_args", {})
        merged |= {key: data[key] for key in ("train", "val") if key in data}
        merged |= (
            {"network": network} if (network := settings.get("model", {}).get("init_args", {}).get("network")) else {}
        )
    text = json.dumps(merged)
    folders = [site.data / name for name in re.findall(r"oc\.env:DATA_ROOT,data}/(\w+)\"", text)]
    weights = [site.checkpoints / name for name in re.findall(r"oc\.env:CHECKPOINTS,checkpoints}/([\w.]+)\"", text)]
    return list(dict.fromkeys([*folders, *weights]))


def evaluation(row: Row, dataset: str, site: Site) -> Run | None:
    """The evaluation of a row on one dataset; None for a peer."""
    if row.method is None:
        return None
    trained = training(row, site)
    checkpoint = released(row, site) if trained is None else trained.folder / "checkpoints" / "last.ckpt"
    home = site.runs / f"released-{Path(row.released or '').stem}" if trained is None else trained.folder
    options = {**row.evaluate, **({"limit": site.limit} if site.limit else {})}
    folder = home / "results" / _slug(options, row.network_options) / dataset
    words = ["evaluate", str(checkpoint), "--data", f"{dataset}={site.data / dataset}"]
    words += [*_flags(options, row.network_options), "--output", str(folder)]
    if row.method == "vtmr":  # FocalClick's files have the same keys
        words += ["--method", "vtmr"]
    return Run(folder, tuple(words), (site.data / dataset,))


def released(row: Row, site: Site) -> Path | None:
    """The released file of a row where it is at hand."""
    if row.released is None:
        return None
    path = site.checkpoints / row.released
    return path if path.is_file() else None


def variant_of(row: Row, site: Site) -> str | None:
    """The variant of a row's network: that of its last overlay which names one, or of its recipe."""
    if row.method is None:
        return None
    for stem in (*reversed(row.overlays), "config"):
        settings = yaml.safe_load((site.experiments / row.method / f"{stem}.yaml").read_text(encoding="utf-8")) or {}
        variant = settings.get("model", {}).get("init_args", {}).get("variant")
        if variant is not None:
            return variant
    return None


def write_tiny_overlay(row: Row, run: Run, site: Site) -> None:
    """Writes the overlay that makes any recipe tiny: the network of the method's smoke.yaml on photos of BSDS500."""
    assert row.method is not None  # peers have no training
    smoke = yaml.safe_load((site.experiments / row.method / "smoke.yaml").read_text(encoding="utf-8"))
    photos = {"class_path": "data_modules.datasets.BSDS500", "init_args": {"root": str(site.data / "BSDS500")}}
    grabcut = {"class_path": "data_modules.datasets.GrabCut", "init_args": {"root": str(site.data / "GrabCut")}}
    source = {"dataset": photos | {"init_args": photos["init_args"] | {"split": "train+test"}}, "sample_weights": None}
    data = TINY_TRAINING | {"train": [source], "val": {"GrabCut": grabcut}}
    overlay = {
        "ckpt_path": "last",
        "model": smoke["model"],
        "data": {"init_args": data},
        "trainer": {"accelerator": "cpu", "max_epochs": 1, "enable_progress_bar": False},
    }
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / "tiny.yaml").write_text(yaml.safe_dump(overlay, sort_keys=False), encoding="utf-8")


def mark_finished(run: Run) -> None:
    """Notes that a run's command has ended well."""
    with written_whole(run.folder / FINISHED) as path:
        path.write_text(json.dumps({"command": list(run.command)}, indent=1), encoding="utf-8")


def distinct(runs: Iterable[Run | None]) -> list[Run]:
    """Runs by folder, each once, in order."""
    return list({run.folder: run for run in runs if run is not None}.values())


def _flags(options: Mapping[str, Any], network_options: Mapping[str, Any]) -> list[str]:
    """Options as flags of `clicklab evaluate`."""
    words: list[str] = []
    for name, value in options.items():
        words.append(f"--{name.replace('_', '-')}")
        if isinstance(value, (list, tuple)):
            words += [f"{entry:g}" for entry in value]
        elif value is not True:
            words.append(str(value))
    for name, value in network_options.items():
        words += ["--network-option", f"{name}={value}"]
    return words


def _slug(options: Mapping[str, Any], network_options: Mapping[str, Any]) -> str:
    """A folder name for one way of evaluating."""
    text = "-".join(f"{name}={value}" for name, value in {**options, **network_options}.items()) or "default"
    return "".join(letter if letter.isalnum() or letter in "=-._" else "_" for letter in text)
