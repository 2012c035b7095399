"""Writes the API reference, made by pdoc from the docstrings, into a folder: `python docs/reference.py build/docs`."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from pkgutil import walk_packages

import pdoc

import clicklab
import data_modules

# the second needs Triton, and holds kernels only; the third needs napari
LEFT_OUT = ("clicklab.__main__", "clicklab.clicks.distance_triton", "clicklab.adapters.napari_widget")


def main(folder: Path) -> None:
    """One page per module of both packages."""
    names = []
    for package in (clicklab, data_modules):
        for name in package.__all__:
            getattr(package, name)  # public names are imported on first use, and pdoc shows what is there
        inside = walk_packages(package.__path__, f"{package.__name__}.")
        names += [package.__name__, *(module.name for module in inside)]
    pdoc.render.configure(docformat="google", footer_text=f"ClickLab {clicklab.__version__}")
    pdoc.pdoc(*(name for name in names if name not in LEFT_OUT), output_directory=folder)
    print(f"written: {folder / 'index.html'}")


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message="Error parsing type annotation")  # names that a dataclass does not import
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/docs"))
