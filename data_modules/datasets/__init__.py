"""The datasets that can be used by name, one file per family, imported only when asked for."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

from data_modules.scenes import SceneDataset

DATASETS: dict[str, str] = {
    "Shapes": "shapes:Shapes",
    "Folder": "folder:Folder",
    "GrabCut": "grabcut:GrabCut",
    "Berkeley": "grabcut:Berkeley",
    "DAVIS": "davis:DAVIS",
    "COCO_MVal": "davis:COCO_MVal",
    "BSDS500": "bsds:BSDS500",
    "SBD": "sbd:SBD",
    "COCO_LVIS": "coco_lvis:COCO_LVIS",
    "COCO": "coco:COCO",
    "LVIS": "lvis:LVIS",
    "LVIS_v05": "lvis:LVIS_v05",
    "PascalVOC": "voc:PascalVOC",
    "DAVIS585": "davis585:DAVIS585",
    "ssTEM": "medical:ssTEM",
    "BraTS": "medical:BraTS",
    "OAIZIB": "medical:OAIZIB",
}


def dataset_class(name: str) -> type[SceneDataset]:
    """The class behind a name of `DATASETS`. Raises ValueError listing the known names for any other."""
    if name not in DATASETS:
        raise ValueError(f"there is no dataset {name!r}; the known ones are {', '.join(sorted(DATASETS))}")
    module, _, attribute = DATASETS[name].partition(":")
    return getattr(import_module(f"{__name__}.{module}"), attribute)


def options_of(name: str) -> list[str]:
    """What the reader of a name takes beside the folder."""
    return [option for option in inspect.signature(dataset_class(name)).parameters if option != "root"]


def open_dataset(name: str, root: str | Path | None = None, **options: Any) -> SceneDataset:
    """Opens a dataset by name.

    Args:
        name: a key of `DATASETS`.
        root: the folder that holds it, in the layout that its class describes; `Shapes` needs none.
        options: further arguments of the class, such as `split`.

    Raises:
        ValueError: unknown name or option, or an option with an impossible value.
        FileNotFoundError: the folder or a part of it is missing; the message says where the set comes from.
    """
    known = options_of(name)
    if unknown := [option for option in options if option not in known]:
        raise ValueError(f"{name} has no option {unknown[0]!r}; it has {', '.join(known) or 'none'}")
    dataset = dataset_class(name)(root, **options)  # ty: ignore[too-many-positional-arguments]
    dataset.given = {"root": None if root is None else str(root)} | options
    return dataset


def __getattr__(name: str) -> Any:
    # lets settings say data_modules.datasets.GrabCut, and imports one reader instead of all
    if name in DATASETS:
        return dataset_class(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
