"""A drawn object as annotation tools send it."""

from __future__ import annotations

import base64
from io import BytesIO

from PIL import Image
from toys import Staged, drawn_object

import clicklab

ON, OFF = (48, 57), (10, 10)  # (row, column) of the drawn object, and beside it
SIZE = (90, 120)


class Picture:
    """A drawn object as tools send it."""

    def __init__(self, seed: int = 3) -> None:
        self.pixels = drawn_object(seed, SIZE).image
        file = BytesIO()
        Image.fromarray(self.pixels).save(file, "PNG")
        self.content = file.getvalue()
        self.base64 = base64.b64encode(self.content).decode()

    def masks(self, *clicks):
        """What a session of its own says after each click (y, x, positive)."""
        session = clicklab.Session(Staged())
        session.set_image(self.pixels)
        return [session.add_click(*click) for click in clicks]
