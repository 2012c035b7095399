"""`clicklab export`: a network as a folder of ONNX graphs with a runtime that needs no torch."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_export(commands: argparse._SubParsersAction) -> None:
    """`export CHECKPOINT --output DIR`."""
    command = commands.add_parser("export", help="a network as ONNX graphs with a runtime that needs no torch")
    command.add_argument("checkpoint", type=Path, nargs="?", help="as for evaluate; default: the network that ships")
    command.add_argument("--output", type=Path, metavar="DIR", help="complete in itself when done")
    command.add_argument("--cvat", type=Path, metavar="DIR", help="the same, as a serverless function of CVAT (nuclio)")
    command.add_argument("--size", type=int, metavar="PIXELS", help="side of a square view; default: the network's own")
    command.add_argument("--opset", type=int, default=20, help="of ONNX's operators, 20 to 23")
    command.add_argument("--int8", action="store_true", help="quantise: smaller and faster, masks differ a little")
    command.add_argument(
        "--calibrate",
        type=Path,
        metavar="FOLDER",
        help="with --int8: some 20 photos to measure ranges on; transformers need none",
    )
    command.add_argument("--method", help="read the checkpoint as this method's")
    command.add_argument("--licence", default="see the source of the weights", help="of the weights, for the card")
    command.set_defaults(run=run_export)


def run_export(options: argparse.Namespace) -> int:
    """Exports, and says how large the graphs are and what to do next."""
    from clicklab.checkpoint import load
    from clicklab.export.cvat import NO_FUNCTION, make_function
    from clicklab.export.folder import export_folder, runs_without_torch
    from clicklab.export.quantise import quantise_folder

    if (options.output is None) == (options.cvat is None):
        raise ValueError("give --output DIR, or --cvat DIR for a function of CVAT")
    if options.calibrate and not options.int8:
        raise ValueError("--calibrate measures ranges for int8: give --int8 as well")
    network = load(options.checkpoint, method=options.method) if options.checkpoint else load()
    source = str(options.checkpoint or "the network that ships with ClickLab")
    folder = options.output or options.cvat
    if options.cvat and not runs_without_torch(network):
        raise ValueError(NO_FUNCTION)
    export_folder(network, folder, source=source, size=options.size, opset=options.opset, licence=options.licence)
    if options.int8:
        quantise_folder(folder, options.calibrate)
    for path in sorted(folder.glob("*.onnx")):
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
    if options.cvat:
        make_function(folder, options.checkpoint.stem if options.checkpoint else "ClickLite")
        print(f"next: nuctl deploy --project-name cvat --path {folder} --platform local")
        return 0
    print(f"next: clicklab evaluate {folder} --data GrabCut=FOLDER --output runs/onnx")
    return 0
