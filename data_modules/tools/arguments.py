"""The arguments of `clicklab data ...`. What an action does is imported when it runs, so that help answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields
from importlib import import_module
from pathlib import Path

from data_modules.coco_lvis.thresholds import Thresholds

SPLITS = ("train", "val")
LAYOUTS = ("bsds", "berkeley", "coco", "coco_lvis", "davis", "folder", "grabcut", "lvis", "sbd", "voc")
IMAGES = ("jpg", "webp", "webp-lossless")
READER_OPTIONS = "options of its reader behind a question mark: 'Folder=/photos?kind=binary&ignore_value=255'"


def add_actions(actions: argparse._SubParsersAction) -> None:
    """Adds all actions; each sets `run`, which takes the options and returns the exit code."""
    _add_show(actions)
    _add_export_shapes(actions)
    _add_build(actions)
    _add_import(actions)
    _add_check(actions)
    _add_pack(actions)
    _add_index(actions)


def _later(module: str, function: str) -> Callable[[argparse.Namespace], int]:
    """A function that imports the one it calls."""

    def run(options: argparse.Namespace) -> int:
        return getattr(import_module(module), function)(options)

    return run


def _add_show(actions: argparse._SubParsersAction) -> None:
    text = "a picture of one scene: layers, object tree, targets, first clicks"
    command = actions.add_parser("show", help=text, description=text.capitalize())
    command.add_argument("dataset", metavar="NAME=FOLDER", help="sets that need no folder are given as NAME=")
    command.add_argument("--index", type=int, default=0, help="which scene, from 0 (default %(default)s)")
    command.add_argument("--output", type=Path, default=Path("scene.png"), help="file to write (default %(default)s)")
    command.add_argument("--split", help="split of the set (default: the reader's own)")
    command.add_argument("--targets", type=int, default=4, metavar="N", help="random targets (default %(default)s)")
    command.add_argument("--suem", action="store_true", help="training crops mixed with other scenes (copy-paste)")
    command.set_defaults(run=_later("data_modules.tools.show", "run_show"))


def _add_export_shapes(actions: argparse._SubParsersAction) -> None:
    text = "write drawn scenes as files in the layout of a real dataset"
    command = actions.add_parser("export-shapes", help=text, description=text.capitalize())
    command.add_argument("folder", type=Path)
    command.add_argument("--format", required=True, choices=LAYOUTS, help="layout of the files")
    command.add_argument("--length", type=int, default=20, metavar="N", help="scenes (default %(default)s)")
    command.add_argument(
        "--size", type=int, nargs="+", default=[128], metavar="PIXELS", help="one: side, two: height width"
    )
    command.add_argument("--seed", type=int, default=0, help="another seed gives other scenes (default %(default)s)")
    command.add_argument("--split", default="train", choices=SPLITS, help="default: %(default)s")
    command.set_defaults(run=_later("data_modules.tools.export_shapes", "run_export"))


def _add_build(actions: argparse._SubParsersAction) -> None:
    text = "COCO+LVIS masks and object tree from the public json files"
    command = actions.add_parser("build-coco-lvis", help=text, description=text)
    command.add_argument(
        "--coco", metavar="PATH", help="panoptic_*.json (as published), instances_*.json, or the COCO folder"
    )
    command.add_argument("--lvis", metavar="PATH", help="lvis_v1_*.json or the LVIS folder")
    command.add_argument("--segments", metavar="DIR", help="panoptic PNGs (default: beside the panoptic json)")
    command.add_argument("--images", metavar="DIR", help="the images, noted for the reader")
    command.add_argument("--crowds", action="store_true", help="count crowds of an instances file as objects")
    for field in fields(Thresholds):
        flag, kind = f"--{field.name.replace('_', '-')}", type(field.default)
        command.add_argument(flag, type=kind, default=field.default, help="(default %(default)s, as published)")
    _add_output(command)
    command.set_defaults(run=_later("data_modules.coco_lvis.build", "run_build"))


def _add_import(actions: argparse._SubParsersAction) -> None:
    text = "the released COCO+LVIS pickles into our plain format"
    command = actions.add_parser("import-hannotation", help=text, description=text.capitalize())
    command.add_argument("source", metavar="DIR", help="the folder that holds train and val")
    command.add_argument("--annotation", default="hannotation.pickle", metavar="FILE", help="(default %(default)s)")
    _add_output(command)
    command.set_defaults(run=_later("data_modules.coco_lvis.build", "run_import"))


def _add_output(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--output", required=True, metavar="DIR", help="gets one folder per split; may exist, then it goes on"
    )
    command.add_argument("--split", choices=SPLITS, default="train", help="(default %(default)s)")
    command.add_argument("--workers", type=int, metavar="N", help="processes (default: one per processor)")
    command.add_argument("--no-progress", action="store_true", help="no progress bar")


def _add_check(actions: argparse._SubParsersAction) -> None:
    text = "counts, broken files, what is missing and where it comes from"
    command = actions.add_parser("check", help=text, description=text.capitalize())
    command.add_argument("dataset", metavar="NAME=FOLDER", help=READER_OPTIONS)
    command.set_defaults(run=_later("data_modules.tools.check", "run_check"))


def _add_pack(actions: argparse._SubParsersAction) -> None:
    text = "write any set as shards: tar files of images and run lengths, to be read by Shards=DIR"
    command = actions.add_parser("pack", help=text, description=text.capitalize())
    command.add_argument("dataset", metavar="NAME=FOLDER", help=READER_OPTIONS)
    command.add_argument("--output", required=True, type=Path, metavar="DIR", help="may exist, then it goes on")
    command.add_argument("--images", choices=IMAGES, default="jpg", help="image files (default %(default)s)")
    command.add_argument("--quality", type=int, default=95, metavar="Q", help="of jpg and webp (default %(default)s)")
    command.add_argument("--scenes-per-shard", type=int, default=1000, metavar="N", help="(default %(default)s)")
    command.add_argument("--workers", type=int, metavar="N", help="processes (default: one per processor)")
    command.add_argument("--no-progress", action="store_true", help="no progress bar")
    command.set_defaults(run=_later("data_modules.tools.pack", "run_pack"))


def _add_index(actions: argparse._SubParsersAction) -> None:
    text = "build the index of shards before a run does"
    command = actions.add_parser("index", help=text, description=text.capitalize())
    command.add_argument(
        "dataset",
        metavar="NAME=FOLDER",
        help="Shards or SA1B; folder or URL; options of the reader behind a question mark",
    )
    command.set_defaults(run=_later("data_modules.tools.pack", "run_index"))
