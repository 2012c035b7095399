"""`clicklab export`: a folder that is complete in itself, graphs, settings, card and a runtime without torch."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from clicklab.export.graphs import OPSET, GraphFacts, export_graphs
from clicklab.export.names import SLOTS
from clicklab.export.onnx_network import FORMAT, OPTIONS
from clicklab.nn.network import ClickNetwork
from clicklab.whole_file import written_whole

RUNTIME = "session.py"
DEFAULT_PREDICTOR = "clicklab.inference.predictor.Predictor"


def export_folder(
    network: ClickNetwork,
    folder: Path,
    *,
    source: str,
    size: int | None = None,
    opset: int = OPSET,
    licence: str = "see the source",
) -> Path:
    """Writes graphs, `options.json`, `README.md` and, for networks of one stage and one mask, `session.py`.

    Args:
        network: from `clicklab.load`.
        folder: made where it is missing.
        source: where the weights come from.
        size: side of a square view; None: what the network asks for.
        opset: of ONNX's operators, 20 to 23.
        licence: of the weights.

    Returns:
        The folder.

    Raises:
        ValueError: the network cannot be exported, or not at this size or opset.
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts = export_graphs(network, folder, size, opset)
    options = options_of(network, facts, source=source, licence=licence, opset=opset)
    options["sha256"] = {path.name: sha256(path) for path in sorted(folder.glob("*.onnx"))}
    with written_whole(folder / OPTIONS) as part:
        part.write_text(json.dumps(options, indent=1) + "\n", encoding="utf-8")
    if runs_without_torch(network):
        with written_whole(folder / RUNTIME) as part:
            shutil.copyfile(Path(__file__).parent / "runtime" / RUNTIME, part)
    with written_whole(folder / "README.md") as part:
        part.write_text(card(options, runs_without_torch(network)), encoding="utf-8")
    return folder


def options_of(network: ClickNetwork, facts: GraphFacts, *, source: str, licence: str, opset: int) -> dict[str, Any]:
    """Everything that a runtime has to know."""
    zoom_in = None if network.zoom_in is None else asdict(network.zoom_in)
    if zoom_in is not None and facts.size is not None:
        zoom_in["target_size"] = list(facts.size)
    return {
        "format": FORMAT,
        "network": network.class_name,
        "arguments": network.arguments,
        "source": source,
        "licence": licence,
        "versions": {name: metadata.version(name) for name in ("clicklab", "torch", "onnx")},
        "opset": opset,
        "slots": SLOTS,
        **asdict(facts),
        "zoom_in": zoom_in,
        "flip": network.flip,
        "mask_threshold": network.mask_threshold,
        "num_candidates": network.num_candidates,
        "exact_clicks": network.exact_clicks,
        "reads_prev_mask": network.reads_prev_mask,
        "second_stage": network.second_stage,
        "predictor": network.predictor,
    }


def runs_without_torch(network: ClickNetwork) -> bool:
    """Whether the small runtime plays this network's dialogues: one stage, one mask, no predictor of its own."""
    return network.predictor == DEFAULT_PREDICTOR and network.num_candidates == 1


def card(options: dict[str, Any], with_runtime: bool) -> str:
    """The model card."""
    graphs = "\n".join(f"| `{name}` | `{digest[:16]}...` |" for name, digest in options["sha256"].items())
    use = RUNTIME_USE if with_runtime else NO_RUNTIME
    return CARD.format(graphs=graphs, use=use, **options)


def sha256(path: Path) -> str:
    """Checksum of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


CARD = """# {network} as ONNX

Click-based interactive segmentation: an image, clicks, the previous mask; out come logits of the mask.
Weights: {source}. Licence of the weights: {licence}.

| file | sha256 |
|---|---|
{graphs}

Inputs: `image` (1, 3, h, w) RGB in [0, 1]; `clicks` (1, {slots}, 3) rows of y, x, label (1 positive, 0 negative,
-1 empty); `prev_mask` (1, 1, h, w) probabilities, zeros at the start. `options.json` says how the view is cut out of
the image.
{use}
In ClickLab this folder is a checkpoint like any other: `clicklab evaluate FOLDER --data ...`.
"""
RUNTIME_USE = """
Without torch (`pip install numpy onnxruntime`):

    from session import Session
    session = Session(".")
    session.set_image(image)                 # (H, W, 3) uint8 RGB
    mask = session.add_click(120, 80)        # row, column; (H, W) bool
    mask = session.add_click(30, 40, positive=False)
    mask = session.undo()
"""
NO_RUNTIME = """
This network needs more than one pass or chooses among masks; ClickLab's own session plays its dialogues.
"""
