"""`clicklab annotate`: masks by clicks, in the browser; their export and statistics."""

from __future__ import annotations

import argparse
from importlib.resources import files
from pathlib import Path
from typing import Any

FORMATS = ("coco", "png", "yolo", "labelme", "clicks")


def add_annotate(commands: argparse._SubParsersAction) -> None:
    """`annotate FOLDER`, `annotate export FOLDER`, `annotate stats FOLDER`."""
    command = commands.add_parser(
        "annotate",
        description="Opens a page in which clicks make masks, kept in FOLDER/clicklab/. At any time, also while people "
        "work: `clicklab annotate export FOLDER --format coco` and `clicklab annotate stats FOLDER`.",
        usage="clicklab annotate [export | stats] FOLDER [options]",
    )
    command.add_argument("words", nargs="+", metavar="FOLDER", help="folder of photos (./export for one of that name)")
    command.add_argument("--network", metavar="CHECKPOINT", help="any that `evaluate` takes (default: clicklite)")
    command.add_argument("--output", type=Path, metavar="DIR", help="for the annotations (default: FOLDER/clicklab)")
    command.add_argument("--classes", metavar="NAMES", help="names with commas between them: cat,dog")
    command.add_argument(
        "--masks",
        metavar="DIR",
        help="masks to correct: id maps (options as of Folder: 'DIR?kind=binary') or COCO json",
    )
    command.add_argument(
        "--host", metavar="ADDRESS", help="let others in, 0.0.0.0 for all; they need the token that is printed"
    )
    command.add_argument("--port", type=int, default=8765, help="0: any free one (default %(default)s)")
    command.add_argument("--try", action="store_true", dest="samples", help="lay a few free photos into FOLDER first")
    command.add_argument("--no-browser", action="store_true", help="only print the address")
    command.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 ... (default: cuda where there is one)")
    command.add_argument("--format", choices=FORMATS, help="of `export`")
    command.add_argument(
        "--to", type=Path, metavar="DIR", help="where `export` writes (default: FOLDER/clicklab/FORMAT)"
    )
    command.add_argument("--reference", metavar="DIR", help="true masks for `stats`, as for --masks")
    command.set_defaults(run=run_annotate)


def run_annotate(options: argparse.Namespace) -> int:
    """Serves, exports or counts."""
    actions = {"export": _export, "stats": _stats}
    action, *rest = options.words
    if action in actions and len(rest) == 1:
        return actions[action](options, Path(rest[0]))
    if rest:
        raise ValueError(f"annotate takes one folder, got {' '.join(options.words)}: quote a name with spaces")
    if options.format or options.to or options.reference:
        raise ValueError("--format, --to and --reference belong to `annotate export` and `annotate stats`")
    return _serve(options, Path(action))


def _serve(options: argparse.Namespace, folder: Path) -> int:
    try:
        from clicklab.annotate.serve import Job, serve
    except ModuleNotFoundError as error:
        raise ValueError(f"the page needs {error.name}: pip install 'clicklab[annotate]'") from error
    if options.samples:
        _lay_samples(folder)
    from clicklab.commands.given_masks import given_masks

    classes = [name.strip() for name in (options.classes or "").split(",") if name.strip()]
    job = Job(
        folder,
        options.output,
        classes,
        given_masks(options.masks) if options.masks else None,
        network=options.network or "clicklite",
        host=options.host,
        port=options.port,
        show=not options.no_browser,
    )
    serve(job, lambda: open_session(options.network, options.device))
    return 0


def _lay_samples(folder: Path) -> None:
    """The free photos that ship with ClickLab, where they are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for photo in (files("clicklab.annotate") / "samples").iterdir():
        if photo.name.endswith(".jpg") and not (folder / photo.name).exists():
            (folder / photo.name).write_bytes(photo.read_bytes())


def _export(options: argparse.Namespace, folder: Path) -> int:
    from clicklab.annotate.exports import export
    from clicklab.annotate.store import Store

    if options.format is None:
        raise ValueError(f"--format is missing: {', '.join(FORMATS)}")
    store = Store(options.output or annotations_of(folder), writing=False)
    try:
        target = options.to or store.folder / options.format
        written = export(store, options.format, target)
    finally:
        store.close()
    print(f"written: {len(written)} files in {target}")
    return 0


def _stats(options: argparse.Namespace, folder: Path) -> int:
    from clicklab.annotate.statistics import statistics
    from clicklab.annotate.store import Store
    from clicklab.commands.given_masks import given_masks

    reference = given_masks(options.reference) if options.reference else None
    store = Store(options.output or annotations_of(folder), writing=False)
    try:
        print(statistics(store, reference))
    finally:
        store.close()
    return 0


def annotations_of(folder: Path) -> Path:
    """The output folder of a folder of photos; or the folder itself, where the annotations lie in it."""
    from clicklab.annotate.store import FILE

    return folder if (folder / FILE).is_file() else folder / "clicklab"


def open_session(network: str | None, device: str) -> Any:
    """A session of a network, without an image. Raises as `clicklab.load`."""
    from clicklab import Session
    from clicklab.commands.devices import find_device
    from clicklab.loading import load

    return Session(load(network, find_device(device)))
