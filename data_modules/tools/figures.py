"""Pictures of `clicklab data show` as files."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from data_modules.formats.writing import write_whole


def write_figure(figure: Figure, path: Path) -> None:
    """Writes a figure; the suffix of `path` decides the kind.

    Raises:
        OSError: naming the file, when it cannot be written.
        ValueError: a suffix that matplotlib does not know.
    """
    kind = path.suffix.removeprefix(".") or "png"
    if kind not in figure.canvas.get_supported_filetypes():
        raise ValueError(f"{path}: pictures are written as .png, .pdf, .svg or .jpg, not as .{kind}")
    write_whole(path, lambda file: figure.savefig(file, format=kind, dpi=110))
