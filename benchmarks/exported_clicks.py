"""Whether exported networks get the same clicks as in torch: `clicklab evaluate` of a checkpoint and of its folder.

    python benchmarks/exported_clicks.py --data GrabCut=/data/GrabCut

Every method, as small as its tests have it and with made-up weights (`--weights METHOD=FILE`: those of a file), is
saved, exported, and both are measured by the command. A next click lies where the last mask was worst, so that a mask
which differs by a few pixels shows itself in the clicks sooner or later.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import clicklab
from clicklab.checkpoint import write_weights
from clicklab.commands.errors import run_script
from clicklab.commands.main import main as clicklab_command
from clicklab.export.folder import export_folder
from clicklab.methods import METHODS, method_package
from clicklab.nn.network import ClickNetwork
from clicklab.records import Clicks
from data_modules.datasets import Shapes
from data_modules.tools.export_shapes import export_scenes

ANY_VIEW = (96, 128)  # of networks that take views of any size


def made_up(method: str) -> ClickNetwork:
    """The smallest network of a method, with weights that leave no mask empty for ever."""
    torch.manual_seed(0)
    options = {"first_size": 48} if method == "clicklite" else {}
    network = method_package(method).build({"variant": "mini", "network_options": options}).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return network


def measured(checkpoint: Path, folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """What `clicklab evaluate` finds: the rows of its objects."""
    name = options.data.partition("=")[0]
    words = ["evaluate", str(checkpoint), "--data", options.data, "--output", str(folder)]
    words += ["--limit", str(options.objects), "--max-clicks", str(options.clicks), "--device", "cpu"]
    with contextlib.redirect_stdout(io.StringIO()):
        code = clicklab_command(words)
    if code:
        raise ValueError(f"clicklab {' '.join(words)} ended with {code}")
    return json.loads((folder / "results.json").read_text())["datasets"][name]["objects"]


def largest_difference(network: ClickNetwork, exported: ClickNetwork, size: tuple[int, int]) -> float:
    """Of the logits after one and after three clicks on noise."""
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(1, 3, *size, generator=generator)
    prev_mask = torch.rand(1, 1, *size, generator=generator)
    clicks = [(size[0] / 2, size[1] / 2, 1), (size[0] / 4, size[1] / 3, 0), (size[0] / 1.5, size[1] / 5, 1)]
    differences: list[Tensor] = []
    with torch.no_grad():
        for count in (1, 3):
            given = Clicks.from_list([clicks[:count]])
            answers = [one(image, given, prev_mask).logits for one in (network, exported)]
            differences.append((answers[0] - answers[1]).abs().max())
    return float(torch.stack(differences).max())


def compared(method: str, weights: str | None, scratch: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One row of the table."""
    network = clicklab.load(weights) if weights else made_up(method)
    checkpoint, folder = scratch / f"{method}.safetensors", scratch / method
    write_weights(method, network, checkpoint)
    export_folder(network, folder, source=weights or "made up")
    exported = clicklab.load(folder)
    size = exported.options["size"] or ANY_VIEW
    rows = [measured(one, scratch / f"{method}_{number}", options) for number, one in enumerate((checkpoint, folder))]
    pairs = list(zip(*rows, strict=True))
    return {
        "method": method,
        "graphs": sorted(path.stem for path in folder.glob("*.onnx")),
        "view": "any" if exported.options["size"] is None else "x".join(map(str, size)),
        "largest difference": largest_difference(network, exported, size),
        "objects": len(pairs),
        "same clicks": sum(one["clicks"] == other["clicks"] for one, other in pairs),
        "clicks": sum(len(one["clicks"]) for one, _ in pairs),
    }


def main() -> None:
    """Reads the command line, prints a table and writes it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="NAME=FOLDER", help="default: generated scenes")
    parser.add_argument("--objects", type=int, default=10)
    parser.add_argument("--clicks", type=int, default=10, help="most clicks of an object")
    parser.add_argument("--only", nargs="*", choices=sorted(METHODS), help="these methods (default: all)")
    parser.add_argument("--weights", nargs="*", default=[], metavar="METHOD=FILE", help="in place of made-up ones")
    parser.add_argument("--output", type=Path, default=Path("runs/bench/exported_clicks.json"))
    options = parser.parse_args()
    files = dict(text.split("=", 1) for text in options.weights)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        if options.data is None:
            export_scenes(Shapes(length=options.objects, size=96), Path(scratch) / "scenes", "grabcut")
            options.data = f"GrabCut={scratch}/scenes"
        for method in options.only or METHODS:
            rows.append(compared(method, files.get(method), Path(scratch), options))
            print_row(rows[-1])
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({"data": options.data.partition("=")[0], "methods": rows}, indent=1))


def print_row(row: dict[str, Any]) -> None:
    """A line of the Markdown table in docs/export.md."""
    graphs = ", ".join(row["graphs"])
    print(
        f"| {row['method']} | {graphs} | {row['view']} | {row['largest difference']:.1e} | "
        f"{row['same clicks']} of {row['objects']} ({row['clicks']} clicks) |",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(run_script(main))
