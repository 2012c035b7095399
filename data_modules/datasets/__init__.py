"""The datasets that can be used by name, one file per family, imported only when asked for."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_modules.datasets.options import gather_reading, need_type, option_types
from data_modules.formats.notes import brief

if TYPE_CHECKING:
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
    "HQSeg44K": "hqseg44k:HQSeg44K",
    "TETRIS": "tetris:TETRIS",
    "Shards": "shards:Shards",
    "SA1B": "sa1b:SA1B",
    "ssTEM": "medical:ssTEM",
    "BraTS": "medical:BraTS",
    "OAIZIB": "medical:OAIZIB",
}


def dataset_class(name: str) -> type[SceneDataset]:
    """The class behind a name of `DATASETS`. Raises ValueError with the nearest known names for any other."""
    if name not in DATASETS:
        raise ValueError(f"there is no dataset {brief(repr(name), 40)}; {nearest(name, DATASETS)}")
    module, _, attribute = DATASETS[name].partition(":")
    return getattr(import_module(f"{__name__}.{module}"), attribute)


def nearest(name: str, known: Iterable[str]) -> str:
    """What to say about a name that is not among the known ones: what was probably meant, or all of them."""
    folded = {each.casefold(): each for each in known}
    close = get_close_matches(name.casefold(), folded, n=2, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(folded[each] for each in close)}?"
    return f"the known ones are {', '.join(sorted(folded.values()))}"


def options_of(name: str) -> list[str]:
    """What the reader of a name takes beside the folder; the options of `ImageReading` stand among them."""
    return list(option_types(dataset_class(name)))


def open_dataset(name: str, root: str | Path | None = None, **options: Any) -> SceneDataset:
    """Opens a dataset by name.

    Args:
        name: a key of `DATASETS`.
        root: the folder that holds it, in the layout that its class describes; `Shapes` needs none.
        options: further arguments of the class, such as `split`, and fields of `ImageReading`, such as `stretch`.

    Raises:
        ValueError: unknown name or option, or an option with an impossible value.
        FileNotFoundError: the folder or a part of it is missing; the message says where the set comes from.
    """
    kind = dataset_class(name)
    known = option_types(kind)
    for option, value in options.items():
        if option not in known:
            raise ValueError(f"{name} has no option {brief(repr(option), 40)}; {nearest(option, known)}")
        need_type(f"{name}: {option}", value, known[option])
    arguments = gather_reading(options)
    dataset = kind(root, **arguments)  # ty: ignore[too-many-positional-arguments]
    dataset.given = {"root": None if root is None else str(root)} | options
    return dataset


def __getattr__(name: str) -> Any:
    # lets settings say data_modules.datasets.GrabCut, and imports one reader instead of all
    if name in DATASETS:
        return dataset_class(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
