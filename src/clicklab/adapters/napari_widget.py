"""A napari plugin: clicks in two points layers, masks in a labels layer."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import Container, Label, LineEdit, PushButton  # ty: ignore[import-not-found]  (napari brings it)

from clicklab.adapters.dialogues import Dialogues
from clicklab.loading import load

if TYPE_CHECKING:
    import napari  # ty: ignore[import-not-found]  (the widget only runs inside of it)

ON, OFF, MASKS = "clicks on it", "clicks beside it", "masks"  # names of the layers


class ClickWidget(Container):
    """Masks by clicks on the image layer that is selected when "start" is pressed.

    Args:
        viewer: napari gives it.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self.network = LineEdit(label="network", value="clicklite", tooltip="any that `clicklab evaluate` takes")
        start = PushButton(text="start on the selected image")
        following = PushButton(text="next object")
        self.message = Label(value="select an image layer")
        super().__init__(widgets=[self.network, start, following, self.message])
        self.viewer = viewer
        self.object = 0  # number in the labels layer of the object that is clicked
        self._opened = ""
        self._dialogues: Any = None
        self._busy = False
        start.clicked.connect(self.start)
        following.clicked.connect(self.next_object)

    def start(self) -> None:
        """Adds the layers for clicks and masks over the selected image."""
        layer = self.viewer.layers.selection.active
        try:
            self._pixels = pixels_of(layer)
            if self._dialogues is None or self._opened != self.network.value:
                self._dialogues, self._opened = Dialogues(load(self.network.value)), self.network.value
        except (ValueError, OSError) as error:
            self.message.value = str(error)
            return
        self._key = uuid.uuid4().hex
        place = {"scale": layer.scale, "translate": layer.translate}
        empty = np.zeros(self._pixels.shape[:2], dtype=np.int32)
        self.masks = self.viewer.add_labels(empty, name=MASKS, **place)
        self.off = self.viewer.add_points(ndim=2, name=OFF, face_color="red", size=9, **place)
        self.on = self.viewer.add_points(ndim=2, name=ON, face_color="green", size=9, **place)
        for points in (self.on, self.off):
            points.events.data.connect(self._answer)
        self.on.mode = "add"
        self.viewer.layers.selection.active = self.on
        self.object, self._before = 1, empty
        self.message.value = f"object 1: click on it; a click in {OFF!r} takes away"

    def next_object(self) -> None:
        """Keeps the mask and begins another one."""
        if self.object == 0:
            return
        self._before = np.array(self.masks.data)
        self.object += 1
        self._busy = True  # the layers are emptied without an answer
        self.on.data, self.off.data = np.zeros((0, 2)), np.zeros((0, 2))
        self._busy = False
        self.message.value = f"object {self.object}: click on it"

    def _answer(self, event: Any = None) -> None:
        """Draws what the clicks mean now."""
        if self._busy:
            return
        drawn = self._before.copy()
        points = [(*centre(place), True) for place in self.on.data]
        points += [(*centre(place), False) for place in self.off.data]
        try:
            if any(positive for _, _, positive in points):
                drawn[self._dialogues.answer(self._key, lambda: self._pixels, points).mask] = self.object
        except ValueError as error:
            self.message.value = str(error)
            return
        self.masks.data = drawn


def centre(place: np.ndarray) -> tuple[int, int]:
    """The pixel (row, column) of a point; napari's pixels have their centres at whole numbers."""
    y, x = np.floor(np.asarray(place, dtype=float) + 0.5).astype(int).tolist()
    return y, x


def pixels_of(layer: Any) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an image layer as it is shown.

    Raises:
        ValueError: no image layer, or not one of two dimensions.
    """
    if layer is None or type(layer).__name__ != "Image":
        raise ValueError("select an image layer first")
    data = np.asarray(layer.data)
    if layer.rgb and data.ndim == 3:
        values = data[..., :3]
        return values if values.dtype == np.uint8 else (255 * np.clip(values, 0, 1)).astype(np.uint8)
    if layer.rgb or data.ndim != 2:
        raise ValueError(f"the image must have two dimensions, {layer.name} is {data.shape}")
    low, high = layer.contrast_limits
    shown = np.clip((data.astype(np.float32) - low) / max(high - low, 1e-12), 0, 1)
    return np.repeat((255 * shown).astype(np.uint8)[..., None], 3, axis=2)
