"""Which mask files belong to which image, by their names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from data_modules.formats.files import list_images
from data_modules.formats.notes import Notes

SEPARATORS = "_-. "
# words that tools put before the name of an image
PREFIXES = ("mask", "masks", "gt", "label", "labels", "seg", "segmentation", "annotation", "instance", "instances")
LABELME_FOLDER, LABELME_FILE = "_json", "label.png"
RULES = "masks are named x.png, x_*.png, mask_x.png, x/*.png or x_json/label.png for x.jpg"


def pair_masks(
    images: list[Path], folder: Path, notes: Notes | None = None
) -> tuple[dict[str, list[Path]], list[Path]]:
    """Pairs images with their masks.

    The masks of `cat.jpg` are `cat.png`; `cat_anything.png` (also with `-`, `.` or a blank; of several images the one
    with the longest name); `mask_cat.png` and the other `PREFIXES`; all files of the folder `cat/` or `cat_anything/`;
    and `cat_json/label.png`, as labelme writes it. Capital and small letters are told apart only where two images
    differ in nothing else.

    Args:
        images: the image files.
        folder: the folder of the masks.
        notes: takes the names of files that are passed over.

    Returns:
        Image file name -> its mask files (maybe none), and the masks that belong to no image.
    """
    of_stem: dict[str, list[Path]] = {image.stem: [] for image in images}
    of_folded: dict[str, str] = {}
    for stem in of_stem:
        # two images whose names differ by case alone: neither is found by another spelling
        of_folded[stem.casefold()] = "" if stem.casefold() in of_folded else stem
    loose: list[Path] = []
    for path in list_images(folder, notes):
        owner = _owner(path.stem, of_stem, of_folded)
        (loose if owner is None else of_stem[owner]).append(path)
    for subfolder in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        owner = _owner(subfolder.name, of_stem, of_folded)
        (loose if owner is None else of_stem[owner]).extend(_masks_of_folder(subfolder, notes))
    return {image.name: of_stem[image.stem] for image in images}, loose


def _masks_of_folder(folder: Path, notes: Notes | None) -> list[Path]:
    label = folder / LABELME_FILE
    if folder.name.endswith(LABELME_FOLDER) and label.is_file():  # beside it lie copies of the image
        return [label]
    return list_images(folder, notes)


def _owner(name: str, of_stem: Mapping[str, object], of_folded: Mapping[str, str]) -> str | None:
    """The stem of the image that a mask or folder of this name belongs to."""
    if (found := _longest_start(name, of_stem)) is not None:
        return found
    for prefix in PREFIXES:
        rest = name[len(prefix) + 1 :]
        if name.casefold().startswith(prefix) and rest and name[len(prefix)] in SEPARATORS:
            if (found := _longest_start(rest, of_stem)) is not None:
                return found
            if found := of_folded.get(_longest_start(rest.casefold(), of_folded) or ""):
                return found
    return of_folded.get(_longest_start(name.casefold(), of_folded) or "") or None


def _longest_start(name: str, known: Mapping[str, object]) -> str | None:
    """The name itself where it is known, or the longest known one that it starts with before a separator."""
    if name in known:
        return name
    cuts = (name[:position] for position in range(len(name) - 1, 0, -1) if name[position] in SEPARATORS)
    return next((cut for cut in cuts if cut in known), None)
