"""Graphs in whole numbers of 8 bits: smaller, and faster where the processor has instructions for them.

Graphs that mostly convolve get fixed ranges, measured on photos; graphs that mostly multiply matrices (transformers)
get ranges that are found anew for every input.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from clicklab.export.folder import sha256
from clicklab.export.names import IMAGE, WHOLE
from clicklab.export.onnx_network import OPTIONS, read_options
from clicklab.export.onnx_stages import open_exported
from clicklab.inference.session import Session
from clicklab.whole_file import written_whole

PHOTOS = 24  # ranges hardly change with more
WHOLE_NUMBERS = ("Conv", "Clip", "Relu", "Add")  # between convolutions nothing else may go back to floats and return
IN_FLOATS = 3  # first convolutions on the image: they lose most by rounding and gain no time
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def quantise_folder(folder: Path, photos: Path | None) -> None:
    """Replaces the graphs of an exported folder by graphs of 8 bits, each as a whole.

    Args:
        folder: made by `export_folder`.
        photos: a folder of photos to measure ranges on; None is enough for transformers.

    Raises:
        ValueError: convolutions and no photos, or no photo in the folder.
    """
    paths = sorted(folder.glob("*.onnx"))
    by_ranges = [path for path in paths if mostly_convolves(path)]
    if by_ranges and photos is None:
        raise ValueError(
            "--int8 measures the ranges of convolutions on photos: give --calibrate FOLDER of some 20 photos"
        )
    recorded = record_inputs(folder, read_photos(photos)) if by_ranges and photos else {}
    for path in paths:
        with written_whole(path) as part:
            if path in by_ranges:
                _by_measured_ranges(path, part, recorded[path.name])
            else:
                _by_ranges_of_each_input(path, part)
    options = read_options(folder)
    options |= {"int8": True, "sha256": {path.name: sha256(path) for path in paths}}
    with written_whole(folder / OPTIONS) as part:
        part.write_text(json.dumps(options, indent=1) + "\n", encoding="utf-8")


def mostly_convolves(path: Path) -> bool:
    """Whether a graph has more convolutions than products of matrices."""
    import onnx

    kinds = [node.op_type for node in onnx.load(path, load_external_data=False).graph.node]
    return kinds.count("Conv") > kinds.count("MatMul") + kinds.count("Gemm")


def read_photos(folder: Path) -> list[np.ndarray]:
    """Some photos (H, W, 3) uint8 RGB of a folder.

    Raises:
        ValueError: there is none.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(f"--calibrate {folder}: there is no photo in it ({', '.join(SUFFIXES)})")
    chosen = paths[:: max(1, len(paths) // PHOTOS)][:PHOTOS]
    return [np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB")) for path in chosen]


def record_inputs(folder: Path, photos: Sequence[np.ndarray]) -> dict[str, list[dict[str, np.ndarray]]]:
    """Graph -> what it is fed in dialogues on photos: a click in the middle, and corrections beside it."""
    fed: dict[str, list[dict[str, np.ndarray]]] = {}
    session = Session(open_exported(folder, lambda name, inputs: fed.setdefault(name, []).append(inputs)))
    for photo in photos:
        height, width = photo.shape[:2]
        session.set_image(photo)
        session.add_click(height / 2, width / 2)
        session.add_click(height / 8, width / 8, positive=False)
        session.add_click(0.6 * height, 0.4 * width)
    return fed


def _by_measured_ranges(source: Path, target: Path, inputs: Sequence[dict[str, np.ndarray]]) -> None:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Inputs(CalibrationDataReader):
        """What was recorded, one after the other."""

        def __init__(self) -> None:
            self.left: Iterator[dict[str, np.ndarray]] = iter(inputs)

        def get_next(self) -> dict[str, np.ndarray]:
            return next(self.left, None)  # ty: ignore[invalid-explicit-return]  (None ends it, as its callers know)

    with tempfile.TemporaryDirectory() as scratch:
        prepared = _prepared(source, Path(scratch) / "prepared.onnx")
        quantize_static(
            prepared,
            target,
            Inputs(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            op_types_to_quantize=list(WHOLE_NUMBERS),
            nodes_to_exclude=_first_convolutions(prepared) if source.name in (IMAGE, WHOLE) else [],
        )


def _first_convolutions(path: Path) -> list[str]:
    """Names of those that stay in floats."""
    import onnx

    return [node.name for node in onnx.load(path).graph.node if node.op_type == "Conv"][:IN_FLOATS]


def _by_ranges_of_each_input(source: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as scratch:
        prepared = _prepared(source, Path(scratch) / "prepared.onnx")
        quantize_dynamic(prepared, target, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"])


def _prepared(source: Path, target: Path) -> Path:
    """The graph as the quantiser wants it, with the shapes in between."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(source, target, skip_symbolic_shape=True)
    return target
