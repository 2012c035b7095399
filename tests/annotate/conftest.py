"""Photos drawn by code, a network without weights, and a desk over them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from colour_network import ColourNetwork
from PIL import Image

from clicklab import Session
from clicklab.annotate.app import Settings, build_app
from clicklab.annotate.desk import Desk
from clicklab.annotate.engine import Engine
from clicklab.annotate.photos import Photos, list_photos
from clicklab.annotate.serve import read_keys
from clicklab.annotate.store import Store
from clicklab.inference.options import InferenceOptions

WIDTH, HEIGHT = 96, 64
RED_AT, BLUE_AT, GREEN_AT = (20, 20), (20, 70), (45, 45)  # (row, column) of the disks' centres


def draw_photo(path: Path, width: int = WIDTH, height: int = HEIGHT, shift: int = 0) -> np.ndarray:
    """Three disks, red, blue and green, on gray; returns their masks (3, height, width) bool."""
    rows, columns = np.mgrid[:height, :width]
    scale, pixels, masks = height / HEIGHT, np.full((height, width, 3), 128, dtype=np.uint8), []
    colours = [(220, 20, 20), (20, 20, 220), (20, 200, 20)]
    for (row, column), colour in zip((RED_AT, BLUE_AT, GREEN_AT), colours, strict=True):
        disk = (rows - row * scale) ** 2 + (columns - column * scale - shift) ** 2 < (12 * scale) ** 2
        pixels[disk] = colour
        masks.append(disk)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return np.stack(masks)


def new_session(*reaches: float, longest_side: int | None = None) -> Session:
    """A session of the network without weights, which looks at whole photos."""
    return Session(ColourNetwork(*reaches), InferenceOptions(zoom=False, flip=False, longest_side=longest_side))


def open_desk(photos: Path, reaches: tuple[float, ...] = (), longest_side: int | None = None) -> Desk:
    """As `serve` makes it."""
    output = photos / "clicklab"
    store = Store(output)
    store.set_photos(list_photos(photos, output)[0])
    for name in () if store.classes() else ("cat", "dog"):
        store.add_class(name)
    reader, session = Photos(photos), new_session(*reaches, longest_side=longest_side)
    return Desk(store, reader, Engine(lambda: Session(session.predictor), reader, "colours"))


def app_of(desk: Desk, token: str | None = None):
    """The application with the page's own keys."""
    settings = Settings("photos", "colours", 0.49, read_keys(Path("absent")), shared=token is not None)
    return build_app(desk, settings, token)


@pytest.fixture
def photos(tmp_path):
    """A folder of three photos, one of them in a folder of its own."""
    folder = tmp_path / "photos"
    for number, name in enumerate(["photo 2.png", "photo 10.png", "更多/фото.png"]):
        draw_photo(folder / name, shift=number)
    return folder


@pytest.fixture
def desk(photos):
    opened = open_desk(photos)
    yield opened
    opened.close()
