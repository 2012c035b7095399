"""Published numbers, as `checkpoints/catalog.yaml` gives them with their sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

# beside the sources in a checkout, inside the package where it was installed as a wheel (pyproject.toml)
PLACES = (
    Path(__file__).resolve().parents[3] / "checkpoints" / "catalog.yaml",
    Path(__file__).resolve().parents[1] / "catalog.yaml",
)


@dataclass(frozen=True)
class PublishedRow:
    """One row of a paper's table.

    Attributes:
        method: key of the catalogue.
        label: what was measured: variant, training data.
        file: the released checkpoint, "" where none was released.
        numbers: dataset -> metric -> value, for example GrabCut -> NoC@90 -> 1.54.
        source: where it was printed.
        oracle: the best of several candidates was picked by the ground truth.
    """

    method: str
    label: str
    file: str
    numbers: Mapping[str, Mapping[str, float]]
    source: str
    oracle: bool = False


def read_catalog() -> dict[str, Any]:
    """The catalogue of released files. Raises FileNotFoundError where the installation lacks it."""
    for place in PLACES:
        if place.is_file():
            return yaml.safe_load(place.read_text())
    raise FileNotFoundError(f"the catalogue of published numbers is missing: {PLACES[0]}; install ClickLab again")


def published_rows(wanted: Sequence[str], catalog: Mapping[str, Any] | None = None) -> list[PublishedRow]:
    """Rows of the methods or released files that are asked for, in that order.

    Args:
        wanted: names of methods (all their rows) or of files, with or without ending (their rows).
        catalog: default: the one of this installation.

    Raises:
        ValueError: a name that the catalogue does not know; the message lists the methods.
    """
    rows = list(_all_rows(read_catalog() if catalog is None else catalog))
    found = []
    for name in wanted:
        matching = [row for row in rows if name in (row.method, row.file, Path(row.file).stem)]
        if not matching:
            known = ", ".join(dict.fromkeys(row.method for row in rows))
            raise ValueError(
                f"--published: nothing is published for {name!r}; known: {known}, or a file of the catalogue"
            )
        found += [row for row in matching if row not in found]
    return found


def _all_rows(catalog: Mapping[str, Any]) -> Iterator[PublishedRow]:
    for method, entry in catalog.items():
        oracle = entry.get("choice") == "oracle"
        for file, facts in (entry.get("files") or {}).items():
            label = f"{method} {facts['variant']} (trained on {facts['trained_on']})"
            source = facts.get("published_source", "")
            if "published" in facts:
                yield PublishedRow(method, label, file, facts["published"], source, oracle)
            if "published_cfr1" in facts:
                yield PublishedRow(method, f"{label}, CFR-1", file, facts["published_cfr1"], source, oracle)
        for label, numbers in (entry.get("published") or {}).items():
            yield PublishedRow(method, f"{method} {label}", "", numbers, entry["published_source"], oracle)
