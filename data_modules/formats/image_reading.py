"""How image and mask files are read: one record for all readers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MAX_PIXELS = 100_000_000


@dataclass(frozen=True)
class ImageReading:
    """What a user may choose about the reading of image and mask files.

    On a command line these are options of every dataset (`Folder=/photos?stretch=true`), in YAML a record of that name
    (`init_args: {root: /photos, reading: {stretch: true}}`).

    Attributes:
        stretch: spreads the values of files with more than 8 bits (and of floating-point files) from the file's own
            smallest to its largest value over 0..255. Without it 16-bit values are divided by 256 and other types are
            refused.
        page: which page or frame of a file with several, from 0. None reads the first and says so.
        alpha: what transparent pixels of an image become: "drop" shows the colours stored under them and says so,
            "black" and "white" lay the image over that colour.
        exif: "turn" applies the orientation tag to images and masks, "ignore" reads both as they are stored.
        max_pixels: files with more pixels (width x height) are refused before they are decoded. A pixel takes about
            10 bytes while its image and mask are read.

    Raises:
        ValueError: an impossible value; the message names the option.
    """

    stretch: bool = False
    page: int | None = None
    alpha: Literal["drop", "black", "white"] = "drop"
    exif: Literal["turn", "ignore"] = "turn"
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        if self.alpha not in ("drop", "black", "white"):
            raise ValueError(f"alpha is {self.alpha!r}: give drop, black or white")
        if self.exif not in ("turn", "ignore"):
            raise ValueError(f"exif is {self.exif!r}: give turn or ignore")
        if self.page is not None and (not isinstance(self.page, int) or self.page < 0):
            raise ValueError(f"page is {self.page!r}: give the number of a page or frame, from 0")
        if not isinstance(self.max_pixels, int) or self.max_pixels < 1:
            raise ValueError(f"max_pixels is {self.max_pixels!r}: give a number of pixels, 1 or more")


AS_USUAL = ImageReading()
