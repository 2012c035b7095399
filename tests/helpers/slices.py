"""A few files of the real datasets in their official layout, so that reading them takes no time."""

from __future__ import annotations

from pathlib import Path

PHOTOS = 6


def slice_of_bsds(whole: Path, folder: Path) -> None:
    """The first photos of train and test that are in no benchmark, with all annotations of each."""
    from data_modules.datasets.bsds import free_ids

    free = free_ids()
    for split in ("train", "test"):
        names = [path.stem for path in sorted((whole / "data" / "images" / split).glob("*.jpg")) if path.stem in free]
        for name in names[:PHOTOS]:
            _link(whole, folder, Path("data") / "images" / split / f"{name}.jpg")
            _link(whole, folder, Path("data") / "groundTruth" / split / f"{name}.mat")


def slice_of_grabcut(whole: Path, folder: Path) -> None:
    """The first photos with their masks."""
    images = sorted((whole / "data_GT").iterdir())[:PHOTOS]
    for image in images:
        _link(whole, folder, image.relative_to(whole))
        for mask in (whole / "boundary_GT").glob(f"{image.stem}.*"):
            _link(whole, folder, mask.relative_to(whole))


def _link(whole: Path, folder: Path, path: Path) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).symlink_to(whole.resolve() / path)
