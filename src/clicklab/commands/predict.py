"""`clicklab predict`: masks of photos from clicks that are known beforehand."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clicklab.annotate.masks import Rle
    from clicklab.annotate.prediction import Wish


def add_predict(commands: argparse._SubParsersAction) -> None:
    """`predict PHOTO --clicks "120,80+ 30,40-" --output DIR`."""
    command = commands.add_parser(
        "predict",
        description="Writes what clicks mean: DIR/masks/ (255 is the object), DIR/overlays/, DIR/instances.json.",
    )
    command.add_argument(
        "photo", type=Path, metavar="PHOTO", help="a photo, or the folder that a clicks.json speaks of"
    )
    command.add_argument(
        "--clicks",
        required=True,
        help="row,column and sign of each: '120,80+ 30,40-'; or a json: clicks.json of `annotate`, or "
        '{"photo.jpg": [[row, column, true], ...]}',
    )
    command.add_argument("--output", type=Path, required=True, metavar="DIR")
    command.add_argument("--start", metavar="MASK", help="a mask of the photo to be corrected by the clicks")
    command.add_argument("--network", metavar="CHECKPOINT", help="any that `evaluate` takes (default: clicklite)")
    command.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 ... (default: cuda where there is one)")
    command.set_defaults(run=run_predict)


def run_predict(options: argparse.Namespace) -> int:
    """Predicts photo by photo; a photo that fails is named, the others are finished."""
    from clicklab.annotate.photos import read_photo
    from clicklab.commands.annotate import open_session

    by_photo = wishes_of(options.photo, options.clicks, options.start)
    session = open_session(options.network, options.device)
    stems = _stems([wishes[0].image for wishes in by_photo.values()])
    images, annotations, failures = [], [], []
    for path, wishes in by_photo.items():
        try:
            pixels, _ = read_photo(path)
            found = _predict(session, pixels, wishes)
        except ValueError as error:
            failures.append(error)
            continue
        name = wishes[0].image
        _write_pictures(options.output, stems[name], pixels, wishes, found)
        images.append({"id": len(images) + 1, "file_name": name, "height": pixels.shape[0], "width": pixels.shape[1]})
        annotations += [(images[-1]["id"], wish.class_name, rle) for wish, rle in zip(wishes, found, strict=True)]
    if not images:
        raise failures[0]
    for error in failures:
        print(f"clicklab: {error}", file=sys.stderr)
    _write_coco(options.output / "instances.json", images, annotations)
    print(f"written: masks: {len(annotations)}, photos: {len(images)}, in {options.output}")
    return 1 if failures else 0


def wishes_of(photo: Path, clicks: str, start: str | None) -> dict[Path, list[Wish]]:
    """File of a photo -> the objects wanted of it.

    Raises:
        FileNotFoundError: no such photo or json.
        ValueError: clicks that make no sense, a start for a whole folder, or a json that names no photo there.
    """
    from clicklab.annotate.prediction import Wish, parse_clicks, read_clicks, read_start

    if not photo.exists():
        raise FileNotFoundError(f"there is no {photo}")
    if not clicks.endswith(".json"):
        if photo.is_dir():
            raise ValueError(f"{photo} is a folder: --clicks must be a json that says what was clicked in each photo")
        mask = None
        if start is not None:
            from clicklab.commands.given_masks import given_masks

            mask = read_start(*given_masks(start))
        return {photo: [Wish(photo.name, parse_clicks(clicks), start=mask)]}
    if start is not None:
        raise ValueError("--start belongs to clicks on the command line; a json has a `start` for each object")
    folder, found = photo if photo.is_dir() else photo.parent, {}
    for wish in read_clicks(Path(clicks)):
        path = PurePosixPath(wish.image)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{clicks}: {wish.image} lies outside {folder}")
        if photo.is_dir() or path.name == photo.name:
            found.setdefault(folder / path if photo.is_dir() else photo, []).append(wish)
    if not found:
        raise ValueError(f"{clicks} has no clicks on {photo}")
    return found


def _predict(session: Any, pixels: Any, wishes: Sequence[Wish]) -> list[Rle]:
    from clicklab import Session
    from clicklab.annotate.dialogue import PhotoSession
    from clicklab.annotate.prediction import predicted

    photo = PhotoSession(Session(session.predictor), pixels)
    return [predicted(photo, wish) for wish in wishes]


def _stems(names: Sequence[str]) -> dict[str, str]:
    """Photo -> its path without suffix, or with it where two photos differ in nothing else."""
    stems = [str(PurePosixPath(name).with_suffix("")) for name in names]
    return {name: name if stems.count(stem) > 1 else stem for name, stem in zip(names, stems, strict=True)}


def _write_pictures(output: Path, stem: str, pixels: Any, wishes: Sequence[Wish], found: Sequence[Rle]) -> None:
    """`masks/STEM.png`, or `STEM_1.png`, `STEM_2.png` ... for several objects; `overlays/STEM.jpg`."""
    from PIL import Image

    from clicklab.annotate.exports import write_whole
    from clicklab.annotate.masks import decode
    from clicklab.annotate.prediction import overlay

    decoded = [decode(rle) for rle in found]
    for number, mask in enumerate(decoded, 1):
        ending = ".png" if len(decoded) == 1 else f"_{number}.png"
        write_whole(output / "masks" / f"{stem}{ending}", _as_file(Image.fromarray(mask), "PNG"))
    picture = Image.fromarray(overlay(pixels, decoded, [wish.clicks for wish in wishes]))
    write_whole(output / "overlays" / f"{stem}.jpg", _as_file(picture, "JPEG"))


def _as_file(image: Any, kind: str) -> bytes:
    content = io.BytesIO()
    (image.convert("L") if kind == "PNG" else image).save(content, kind, quality=90)
    return content.getvalue()


def _write_coco(file: Path, images: list[dict], annotations: list[tuple[int, str, Rle]]) -> None:
    import json

    from clicklab.annotate.exports import write_whole
    from clicklab.annotate.masks import area, box_of

    names = sorted({name for _, name, _ in annotations})
    rows = [
        {
            "id": number,
            "image_id": image,
            "category_id": names.index(name) + 1,
            "segmentation": rle,
            "bbox": box_of(rle),
            "area": area(rle),
            "iscrowd": 0,
        }
        for number, (image, name, rle) in enumerate(annotations, 1)
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(names, 1)]
    record = {"images": images, "annotations": rows, "categories": categories}
    write_whole(file, json.dumps(record, ensure_ascii=False).encode())
