"""What lies above a threshold after a large view was laid back on a photo, without laying it back.

Between four neighbours a bilinear resize takes no value beyond theirs. So a cell of the view whose corners all lie on
one side of the threshold is decided, and only the pixels of the others, those that the outline runs through, are
computed. No two decided cells of different sides touch: they would share corners. So every change from pixel to pixel
lies at a pixel that was computed, or at the rim.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from clicklab.inference.partial_mask import PartialMask, starts_in_columns
from clicklab.views.bilinear import Taps, lerp
from clicklab.views.boxes import Box, Size

MARGIN = 1e-6  # values in [0, 1] between four corners leave their range by rounding, less than this
MOST_CROSSED = 0.25  # of all cells: where the threshold crosses more, resizing everything is as fast


@dataclass(frozen=True, eq=False)
class CellMask(PartialMask):
    """A mask by cells of the view. A cell holds the pixels that lie behind its first corner, up to its last.

    Attributes:
        box: the part of the image that the view was laid on; outside of it the mask is False.
        row_starts: (h + 1,) first row of the cells in the box, and the number of rows at the end.
        column_starts: (w + 1,) the same of columns.
        inside: (h, w) bool, cells whose pixels are all True.
        crossed: (row, column) of the n cells whose pixels were computed.
        pixels: (n, r, c) bool. All are as large as the largest cell: the last row and column of a smaller one repeat.
    """

    box: Box
    row_starts: np.ndarray
    column_starts: np.ndarray
    inside: np.ndarray
    crossed: tuple[np.ndarray, np.ndarray]
    pixels: np.ndarray

    @classmethod
    def above(cls, grid: Tensor, box: Box, size: Size, threshold: float) -> CellMask | None:
        """`resize(grid[None], box.size)[0] > threshold`, laid on an image.

        Args:
            grid: (h, w) float32 in [0, 1].
            box: of the image, in neither direction smaller than the grid.
            size: (H, W) of the image.
            threshold: in (0, 1).

        Returns:
            None where the threshold crosses so many cells that resizing everything is as fast.
        """
        down, across = (Taps.of(*sides) for sides in zip(grid.shape, box.size, strict=True))
        starts = _starts(down), _starts(across)
        inside, outside = _sides(grid.numpy(), threshold)
        cells = slice(len(starts[0]) - 1), slice(len(starts[1]) - 1)  # the last corners may have no pixel behind them
        inside, crossed = inside[cells], ~(inside | outside)[cells]
        if np.count_nonzero(crossed) > MOST_CROSSED * crossed.size:
            return None
        row, column = crossed.nonzero()
        pixels = _above(grid, (row, column), starts, (down.second_weight, across.second_weight), threshold)
        return cls(size, box, *starts, inside, (row, column), pixels)

    def whole(self) -> np.ndarray:
        """As `PartialMask.whole`."""
        full = np.zeros(self.size, dtype=bool)
        if not (self.inside.any() or self.pixels.any()):
            return full
        rows, columns = _spans(self.crossed[0], self.row_starts), _spans(self.crossed[1], self.column_starts)
        heights, widths = np.diff(self.row_starts), np.diff(self.column_starts)
        part = self.inside.repeat(widths, axis=1).repeat(heights, axis=0)
        part.reshape(-1)[rows[..., None] * part.shape[1] + columns[:, None]] = self.pixels
        full[self.box.window] = part
        return full

    def filled_lines(self) -> np.ndarray:
        """As `PartialMask.filled_lines`."""
        lines = np.zeros(sum(self.size), dtype=np.uint8)
        sides = lines[: self.size[0]][self.box.window[0]], lines[self.size[0] :][self.box.window[1]]
        flags = torch.from_numpy(self.pixels).view(torch.uint8)  # whose maximum is found faster than `any` of bools
        for axis, (side, starts) in enumerate(zip(sides, (self.row_starts, self.column_starts), strict=True)):
            side[self.inside.any(axis=1 - axis).repeat(np.diff(starts))] = 1
            filled = flags.amax(dim=2 - axis).view(torch.bool).numpy() if len(flags) else flags[:, 0].numpy().view(bool)
            side[_spans(self.crossed[axis], starts)[filled]] = 1
        return lines

    def run_starts(self) -> np.ndarray:
        """As `PartialMask.run_starts`."""
        changes = [self._within(), self._above(), self._below(), *self._at_the_rim()]
        rows, columns = (np.concatenate(parts) for parts in zip(*changes, strict=True))
        return starts_in_columns(rows + self.box.y0, columns + self.box.x0, self.size[0])

    def _within(self) -> tuple[np.ndarray, np.ndarray]:
        """(row, column) of pixels of crossed cells that differ from the one above in the same cell."""
        changes = self.pixels[:, 1:] != self.pixels[:, :-1]
        changes &= self._own
        cell, place = np.divmod(np.flatnonzero(changes), changes[:1].size)  # faster than `nonzero` in three axes
        row, column = np.divmod(place, changes.shape[2])
        return self.row_starts[self.crossed[0][cell]] + row + 1, self._columns(cell, column)

    def _above(self) -> tuple[np.ndarray, np.ndarray]:
        """(row, column) of first pixels of crossed cells that differ from the one above, which is of another cell."""
        row, column = self.crossed
        number = np.full((len(self.inside) + 1, self.inside.shape[1]), -1)  # of crossed cells, from the second row on
        number[row + 1, column] = np.arange(len(row))
        neighbour = number[row, column]
        state = np.concatenate([np.zeros_like(self.inside[:1]), self.inside])[row, column]  # nothing above the image
        before = np.where((neighbour >= 0)[:, None], self.pixels[neighbour, -1], state[:, None])
        cell, place = (self._own[:, 0] & (before != self.pixels[:, 0])).nonzero()
        return self.row_starts[row[cell]], self._columns(cell, place)

    def _below(self) -> tuple[np.ndarray, np.ndarray]:
        """(row, column) of the first pixels of decided cells that differ from a crossed cell above them."""
        row, column = self.crossed
        decided = np.ones((len(self.inside) + 1, self.inside.shape[1]), dtype=bool)
        decided[row, column] = False
        state = np.concatenate([self.inside, np.zeros_like(self.inside[:1])])[row + 1, column]
        ends = decided[row + 1, column][:, None] & (self.pixels[:, -1] != state[:, None])
        cell, place = (self._own[:, 0] & ends).nonzero()
        return self.row_starts[row[cell] + 1], self._columns(cell, place)

    def _at_the_rim(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(row, column) of changes of cells that are wholly True in the first and behind the last row."""
        found = []
        for cells, row in ((self.inside[0], 0), (self.inside[-1], self.row_starts[-1])):
            columns = np.flatnonzero(cells.repeat(np.diff(self.column_starts)))
            found.append((np.full(len(columns), row), columns))
        return found

    @property
    def _own(self) -> np.ndarray:
        """(n, 1, c) bool: the columns of crossed cells that are no repetition."""
        widths = np.diff(self.column_starts)[self.crossed[1]]
        return (np.arange(self.pixels.shape[2]) < widths[:, None])[:, None]

    def _columns(self, cell: np.ndarray, column: np.ndarray) -> np.ndarray:
        return self.column_starts[self.crossed[1][cell]] + column


def _sides(grid: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """(h, w) bool twice: cells wholly above the threshold, and cells wholly below. A cell has its first corner."""
    below = np.concatenate([grid[1:], grid[-1:]])
    low, high = np.minimum(grid, below), np.maximum(grid, below)
    low = np.minimum(low, np.concatenate([low[:, 1:], low[:, -1:]], axis=1))
    high = np.maximum(high, np.concatenate([high[:, 1:], high[:, -1:]], axis=1))
    return low > threshold + MARGIN, high <= threshold - MARGIN


def _starts(taps: Taps) -> np.ndarray:
    """(cells + 1,) first pixel of every cell that has one, and the number of pixels at the end."""
    first = taps.first.numpy()
    return np.searchsorted(first, np.arange(first[-1] + 2))


def _spans(cells: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """(n, k) pixels of n cells along one axis; k belong to the largest, and others name their last one again."""
    first, end = starts[cells], starts[cells + 1]
    return np.minimum(first[:, None] + np.arange((end - first).max(initial=1)), end[:, None] - 1)


def _above(
    grid: Tensor,
    cells: tuple[np.ndarray, np.ndarray],
    starts: tuple[np.ndarray, np.ndarray],
    weights: tuple[Tensor, Tensor],
    threshold: float,
) -> np.ndarray:
    """(n, r, c) bool: the pixels of n cells (row, column); the weights are `Taps.second_weight` of rows and columns."""
    down, across = (
        torch.take(weight, torch.from_numpy(_spans(cell, start)))
        for cell, start, weight in zip(cells, starts, weights, strict=True)
    )
    (height, width), (row, column) = grid.shape, (torch.from_numpy(cell)[:, None] for cell in cells)
    behind = (column + 1).clamp(max=width - 1)
    lines = [
        lerp(grid[line, column], grid[line, behind], 1 - across, across)[:, None]  # (n, 1, c)
        for line in (row, (row + 1).clamp(max=height - 1))
    ]
    return (lerp(*lines, (1 - down)[..., None], down[..., None]) > threshold).numpy()
