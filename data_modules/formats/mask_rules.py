"""What a user says about the values of mask files."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import ImageColor

KINDS = ("auto", "binary", "ids", "alpha")


def _is_whole(value: object, optional: bool = False) -> bool:
    return (optional and value is None) or (isinstance(value, int) and not isinstance(value, bool))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class MaskRules:
    """What the values of a mask mean.

    Attributes:
        kind: "binary": one object per file, everything above the threshold. "ids": every value or colour except the
            background is an object. "alpha": the opaque part of the file is the object. "auto": palette, 16-bit and
            whole-number floating-point files are id maps, files with one value besides the background and
            probabilities (fractions in 0..1) are binary, anything else is refused as ambiguous.
        ignore_value: pixels of this gray value or palette index are ignored, in every kind.
        threshold: share of the full scale above which "binary" sees object. None is one half, and flat regions of a
            smaller value still count as object (ids or dark label colours).
        smallest: objects of "ids" with fewer pixels are none: gray values become background, colours (soft edges) join
            the most similar one of the others.
        background: gray value (0..255), colour name or "#rrggbb" of the background; None is 0, black.

    Raises:
        ValueError: an impossible value; the message names the option.
    """

    kind: str = "auto"
    ignore_value: int | None = None
    threshold: float | None = None
    smallest: int = 0
    background: str | int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}; give one of {', '.join(KINDS)}")
        if not _is_whole(self.ignore_value, optional=True):
            raise ValueError(f"ignore_value is {self.ignore_value!r}; give the value of the pixels to be ignored")
        if self.ignore_value == 0 and self.background is None:
            raise ValueError("ignore_value=0 would ignore the background; give the value of the border pixels")
        if self.threshold is not None and not (_is_number(self.threshold) and 0 <= self.threshold < 1):
            raise ValueError(f"threshold is {self.threshold!r}; give a share of the full scale, 0 to below 1")
        if not _is_whole(self.smallest) or self.smallest < 0:
            raise ValueError(f"smallest is {self.smallest!r}; give a number of pixels, 0 or more")
        self.background_colour()

    def background_colour(self) -> tuple[int, int, int]:
        """Red, green and blue of the background, 0..255."""
        if self.background is None:
            return (0, 0, 0)
        if _is_whole(self.background) and 0 <= int(self.background) <= 255:
            level = int(self.background)
            return level, level, level
        try:
            red, green, blue = ImageColor.getrgb(str(self.background))[:3]
        except ValueError as error:
            raise ValueError(
                f"background is {self.background!r}; give a gray value 0..255, a colour name or '#rrggbb'"
            ) from error
        return red, green, blue


AUTO = MaskRules()
