"""Folders for a model hub: weights, settings and a card. Nothing is uploaded here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from clicklab.checkpoint import WEIGHTS, write_weights
from clicklab.methods import method_of
from clicklab.nn.network import ClickNetwork
from clicklab.whole_file import written_whole

CONFIG = "config.json"


def save(
    network: ClickNetwork,
    folder: str | Path,
    *,
    licence: str | None = None,
    source: str | None = None,
    results: Mapping[str, Any] | None = None,
) -> Path:
    """Writes `model.safetensors`, `config.json` and `README.md`; `clicklab.load(folder)` opens them again.

    Args:
        network: of one of the methods.
        folder: made where it is missing; files of the same name are replaced, each as a whole.
        licence: of the weights. Converted official weights keep their authors' (checkpoints/catalog.yaml).
        source: where the weights come from.
        results: a record of `clicklab.evaluate`; its NoC goes into the card.

    Returns:
        The folder.

    Raises:
        ValueError: a network of no method of ours.
        OSError: a file cannot be written; the message names it.
    """
    folder, name = Path(folder), method_of(network)
    write_weights(name, network, folder / WEIGHTS)
    config = {
        "library_name": "clicklab",
        "clicklab_version": metadata.version("clicklab"),
        "method": name,
        "arguments": network.arguments,
        "licence": licence,
        "source": source,
    }
    with written_whole(folder / CONFIG) as part:
        part.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    with written_whole(folder / "README.md") as part:
        part.write_text(card(config, results), encoding="utf-8")
    return folder


def card(config: Mapping[str, Any], results: Mapping[str, Any] | None) -> str:
    """The model card, with the header that the Hugging Face hub reads."""
    licence = config["licence"] or "unknown"
    head = f"---\nlibrary_name: clicklab\npipeline_tag: mask-generation\nlicense: {_hub_licence(licence)}\n---\n"
    text = f"""{head}
# {config["method"]}

Click-based interactive segmentation with [ClickLab]: a click on an object gives its mask, further clicks correct it.

* weights: {config["source"] or "source not given"}
* licence of the weights: {licence}

    import clicklab
    session = clicklab.Session(clicklab.load("this folder"))
    session.set_image(image)            # (H, W, 3) uint8 RGB
    mask = session.add_click(120, 80)   # row, column
"""
    return text + (_results_table(results) if results else "")


def _results_table(results: Mapping[str, Any]) -> str:
    """NoC of every dataset, with the settings that it was measured with."""
    rows = []
    for dataset, record in results["datasets"].items():
        noc = ", ".join(f"NoC@{at} {value:.2f}" for at, value in record["noc"].items())
        rows.append(f"| {dataset} | {len(record['objects'])} | {noc} |")
    preset = results["protocol"]["preset"]
    return "\n".join(
        [f"\nMeasured with preset {preset}:\n", "| dataset | objects | clicks |", "|---|---|---|", *rows, ""]
    )


def _hub_licence(licence: str) -> str:
    """The hub's short name where the licence has one."""
    known = {"mit": "mit", "apache-2.0": "apache-2.0", "cc-by-4.0": "cc-by-4.0"}
    return known.get(licence.lower(), "other")
