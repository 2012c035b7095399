"""Every experiment file takes a training and a validation step at a tiny size, on data in the real formats."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hqseg_files import write_hqseg44k

from clicklab.commands.main import main
from data_modules.datasets import Shapes
from data_modules.datasets.bsds import free_ids
from data_modules.tools.export_shapes import export_scenes

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
METHODS = sorted(folder.name for folder in EXPERIMENTS.iterdir() if folder.is_dir() and folder.name != "_base")
RECIPES = [
    (method, path.stem)
    for method in METHODS
    for path in sorted((EXPERIMENTS / method).glob("*.yaml"))
    if path.stem != "sweep"
]
TINY = {
    "ckpt_path": None,
    "data": {
        "init_args": {
            "crop_size": 128,
            "batch_size": 2,
            "epoch_length": 4,
            "num_workers": 0,
            "limit": 2,
            "targets": {"min_object_area": 10},
        }
    },
    "trainer": {"accelerator": "cpu", "fast_dev_run": 1, "enable_progress_bar": False},
}


@pytest.fixture(scope="module")
def data_root(tmp_path_factory) -> Path:
    """All datasets that experiments name, drawn small and written in their real formats."""
    root = tmp_path_factory.mktemp("data")
    shapes = Shapes(length=4, size=128, split="train")  # recipes leave out parts of less than 900 pixels
    small = Shapes(length=4, size=64, split="train")
    for form, folder in {"coco_lvis": "COCO_LVIS", "sbd": "SBD"}.items():
        export_scenes(shapes, root / folder, form)
    export_scenes(small, root / "GrabCut", "grabcut")
    write_hqseg44k(root / "HQSeg44K", shapes, "train")
    free = iter(sorted(free_ids()))
    for split in ("train", "val", "test"):
        scenes = [replace(small[index], name=next(free)) for index in range(len(small))]
        export_scenes(scenes, root / "BSDS500", "bsds", split=split)
    mixture = yaml.safe_load((EXPERIMENTS / "clicklite" / "photos_mix.yaml").read_text())["data"]["init_args"]["train"]
    for source in mixture:
        folder = source["dataset"]["init_args"]["root"].rpartition("}/")[2]
        if folder.startswith("train/"):
            export_scenes(shapes, root / folder, "folder")
    names = (root / "SBD" / "train.txt").read_text().split()
    weights = [(index, name, 0.5) for index, name in enumerate(names)]
    (root / "SBD" / "sbd_samples_weights.pkl").write_bytes(pickle.dumps(weights))
    return root


def overlays(method: str, stem: str) -> list[str]:
    """The files to merge after config.yaml: `x_y.yaml` goes on top of `x.yaml` where that exists."""
    below = stem.rpartition("_")[0]
    chain = [below] if below and (EXPERIMENTS / method / f"{below}.yaml").exists() else []
    return [*chain, stem] if stem != "config" else []


def configs(method: str, stem: str) -> list[str]:
    paths = [EXPERIMENTS / "_base" / "trainer.yaml", EXPERIMENTS / method / "config.yaml"]
    paths += [EXPERIMENTS / method / f"{name}.yaml" for name in overlays(method, stem)]
    return [part for path in paths for part in ("--config", str(path))]


def tiny(method: str, folder: Path) -> list[str]:
    """One more overlay that makes any recipe small; the small network is the one of the method's smoke.yaml."""
    smoke = yaml.safe_load((EXPERIMENTS / method / "smoke.yaml").read_text())
    path = folder / "test_size.yaml"
    path.write_text(yaml.safe_dump(TINY | {"model": smoke["model"]}))
    return ["--config", str(path), f"--trainer.default_root_dir={folder}"]


@pytest.mark.parametrize(("method", "stem"), RECIPES, ids=lambda value: value)
def test_recipe_trains_and_is_measured(method, stem, data_root, tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(data_root))
    assert main(["fit", *configs(method, stem), *tiny(method, tmp_path)]) == 0


@pytest.mark.parametrize("method", METHODS)
def test_sweep_parameters_are_options_of_the_recipe(method, data_root, tmp_path, monkeypatch):
    path = EXPERIMENTS / method / "sweep.yaml"
    if not path.exists():
        pytest.fail(f"{path} is missing: `make sweep-{method}` needs it")
    sweep = yaml.safe_load(path.read_text())
    assert sweep["metric"]["name"].startswith("val/")
    monkeypatch.setenv("DATA_ROOT", str(data_root))
    monkeypatch.setenv("WANDB_RUN_ID", "run1")
    last = [f"--{name}={values['values'][-1]}" for name, values in sweep["parameters"].items()]
    monkeypatch.chdir(EXPERIMENTS.parent)
    clicklab, *recipe, arguments = sweep["command"]
    assert (clicklab, arguments) == ("clicklab", "${args}")
    assert main([*recipe, *tiny(method, tmp_path), *last]) == 0


def test_missing_data_is_named_in_one_line_with_a_way_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "nothing"))
    assert main(["fit", *configs("simpleclick", "config"), "--trainer.fast_dev_run=1"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    for folder in ("COCO_LVIS", "GrabCut"):  # all of them, not only the first
        assert str(tmp_path / "nothing" / folder) in said
    assert "DATA_ROOT" in said and "VARIANT=tiny" in said


def test_a_missing_photo_folder_of_the_mixture_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    assert main(["fit", *configs("clicklite", "photos_mix"), "--trainer.fast_dev_run=1"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert str(tmp_path / "train" / "CCP") in said and "Set DATA_ROOT" in said and "PHOTOS" not in said


def test_compile_overlay_adds_its_callback(data_root, tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setenv("DATA_ROOT", str(data_root))
    monkeypatch.setattr("clicklab.callbacks.compile_parts.compile_parts", compiled.append)
    overlay = ["--config", str(EXPERIMENTS / "_base" / "compile.yaml")]
    assert main(["fit", *configs("simpleclick", "config"), *tiny("simpleclick", tmp_path), *overlay]) == 0
    assert [type(network).__name__ for network in compiled] == ["SimpleClickNet"]
