"""One look through a tar file: where its images and their json files begin, and what is wrong with it."""

from __future__ import annotations

import tarfile
import zlib
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple

import numpy as np

from data_modules.formats.files import IMAGE_SUFFIXES
from data_modules.formats.notes import shown

BLOCK = 512  # bytes; headers and contents of a tar file begin at multiples of it
ANNOTATION = ".json"
FIELDS = [
    ("image_block", np.uint32),  # of the content; the header is the block before
    ("image_size", np.uint32),  # bytes
    ("image_header", np.uint32),  # CRC-32 of the header: tells a shard that was changed
    ("json_block", np.uint32),
    ("json_size", np.uint32),
    ("json_header", np.uint32),
]


class Member(NamedTuple):
    """A file in a tar: block and bytes of its content, CRC-32 of its header."""

    block: int
    size: int
    header: int


class Scan(NamedTuple):
    """What a shard holds.

    Attributes:
        rows: (samples,) of `FIELDS` and `name`, in the order of the images; 24 bytes and the name each.
        problems: what is wrong with the shard and was survived, one line each.
    """

    rows: np.ndarray
    problems: list[str]


def scan(file: BinaryIO, size: int) -> Scan:
    """Reads the headers of a tar file of `size` bytes.

    A sample is an image and a json file of the same name up to its first dot, in any order, as WebDataset has it.

    Raises:
        ValueError: no tar file, or a compressed one.
    """
    images: dict[str, Member] = {}
    annotations: dict[str, Member] = {}
    problems, twice, other = [], [], []
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            try:
                while (member := archive.next()) is not None:
                    archive.members = []  # ty: ignore[missing-attribute]  # tarfile keeps them all
                    if member.offset_data + member.size > size:
                        problems.append(f"cut off in {member.name} at byte {size}: what followed is missing")
                        break
                    if not member.isreg() or member.issparse():
                        other += [] if member.isdir() else [member.name]
                        continue
                    key, suffix = key_of(member.name)
                    kept = annotations if suffix == ANNOTATION else images if suffix in IMAGE_SUFFIXES else None
                    if kept is None:
                        continue
                    if key in kept:
                        twice.append(member.name)
                        continue
                    kept[key] = _placed(file, member)
                else:
                    problems += _end(file, archive.offset, size)
            except tarfile.TarError:
                problems.append(f"damaged or cut off behind byte {archive.offset}: what followed is missing")
    except tarfile.TarError as error:
        raise ValueError("no tar file, or a compressed one: shards are read by offset, unpack .gz first") from error
    for names, told in ((twice, "names given twice, the first counts"), (other, "links or special files, left out")):
        problems += [f"{len(names)} {told}: {shown(names)}"] if names else []
    for names, told in (
        ([key for key in images if key not in annotations], "images without json file, left out"),
        ([key for key in annotations if key not in images], "json files without image, left out"),
    ):
        problems += [f"{len(names)} {told}: {shown(names)}"] if names else []
    return Scan(_table(images, annotations), problems)


def key_of(name: str) -> tuple[str, str]:
    """The name that the members of a sample share, and the rest in small letters: a/b.seg.png is a/b and .seg.png."""
    path = PurePosixPath(name)
    stem, dot, rest = path.name.partition(".")
    return (path.parent / stem).as_posix(), f"{dot}{rest}".lower()


def _placed(file: BinaryIO, member: tarfile.TarInfo) -> Member:
    file.seek(member.offset_data - BLOCK)
    return Member(member.offset_data // BLOCK, member.size, zlib.crc32(file.read(BLOCK)))


def _end(file: BinaryIO, offset: int, size: int) -> list[str]:
    """What is wrong with the end of a tar file: two empty blocks mark it."""
    file.seek(offset)
    block = file.read(BLOCK)
    if 0 < len(block) < BLOCK:
        return [f"cut off in a header at byte {size}: what followed is missing"]
    if any(block):
        return [f"a damaged header at byte {offset}: what followed is not read"]
    return [] if block else [f"ends at byte {size} without the mark of an end: members may be missing"]


def _table(images: dict[str, Member], annotations: dict[str, Member]) -> np.ndarray:
    whole = [key for key in images if key in annotations]
    names = [key.encode("utf-8", "surrogateescape") for key in whole]
    longest = max(map(len, names), default=1)
    rows = np.zeros(len(whole), dtype=[*FIELDS, ("name", f"S{longest}")])
    for kind, found in (("image", images), ("json", annotations)):
        values = np.array([found[key] for key in whole], dtype=np.int64).reshape(-1, 3)
        for column, field in enumerate(("block", "size", "header")):
            rows[f"{kind}_{field}"] = values[:, column]
    rows["name"] = names
    return rows
