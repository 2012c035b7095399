"""Imports point one way (README, The house), methods do not know each other, and no drawer is called utils."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = sorted((REPOSITORY / "src" / "clicklab").rglob("*.py")) + sorted((REPOSITORY / "data_modules").rglob("*.py"))

# room -> rooms it may import, besides itself
ALLOWED = {
    "records": set(),
    "device": set(),
    "shipped": set(),
    "external_checkpoint": set(),
    "whole_file": set(),
    "clicks": {"records"},
    "views": {"records", "clicks"},
    "masks": {"records"},
    "nn": {"records", "clicks", "external_checkpoint", "views"},
    "losses": {"records", "masks"},
    "optim": {"nn"},
    "inference": {"records", "device", "views", "nn"},
    "methods": {
        "records", "clicks", "views", "masks", "external_checkpoint", "nn", "losses", "optim", "inference",
    },
    "evaluation": {"records", "device", "clicks", "masks", "views", "nn", "inference", "whole_file"},
    "peers": {"records", "external_checkpoint", "nn"},
    "callbacks": {"whole_file", "records", "nn", "inference", "evaluation", "visualize", "checkpoint"},
    "export": {"records", "nn", "views", "inference", "methods", "whole_file"},
    "tables": {"whole_file"},
    "sweeps": set(),
    "visualize": {"records", "clicks", "views", "nn", "inference", "evaluation", "whole_file"},
    "annotate": {"inference", "whole_file"},
    "adapters": {"inference", "annotate", "loading"},
    "hub": {"checkpoint", "methods", "nn", "whole_file"},
    "checkpoint": {"export", "shipped", "device", "external_checkpoint", "whole_file", "nn", "methods"},
    "loading": {"checkpoint", "device", "nn", "peers"},
    "data_modules": {"records", "clicks", "masks", "views"},
}  # fmt: skip
BOTH_SIDES = {"api", "commands", "__main__"}  # the only modules that know methods and data


def room_of(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return "data_modules" if parts[0] == "data_modules" else parts[2]


def imports_of(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name for name in names if name.split(".")[0] in ("clicklab", "data_modules")}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_imports_point_one_way(path):
    room = room_of(path)
    if room in BOTH_SIDES or room == "__init__":
        return
    for name in imports_of(path):
        parts = name.split(".")
        target = "data_modules" if parts[0] == "data_modules" else (parts[1] if len(parts) > 1 else "__init__")
        assert target == room or target in ALLOWED[room], f"{path.name} ({room}) must not import {name}"


def test_methods_do_not_import_each_other():
    for path in (REPOSITORY / "src" / "clicklab" / "methods").rglob("*.py"):
        parts = path.relative_to(REPOSITORY / "src" / "clicklab" / "methods").parts
        own = parts[0] if len(parts) > 1 else None
        for name in imports_of(path):
            other = name.split(".")
            if other[:2] == ["clicklab", "methods"] and len(other) > 2 and other[2] != "base":
                assert other[2] == own, f"{path} imports another method: {name}"


def test_networks_run_without_lightning():
    for path in SOURCES:
        if path.name in ("net.py", "official.py") or room_of(path) in ("clicks", "nn", "losses", "records"):
            assert "lightning" not in path.read_text(), f"{path} must not need Lightning"


def test_every_file_is_small_and_well_named():
    for path in SOURCES:
        assert path.stem not in ("utils", "helpers", "misc"), path
        assert len(path.read_text().splitlines()) <= 400, f"{path} is over 400 lines: is there a second idea in it?"


def test_data_never_names_a_method_and_methods_never_name_a_dataset():
    from clicklab.methods import METHODS
    from data_modules.datasets import DATASETS

    for path in SOURCES:
        constants = {
            n.value
            for n in ast.walk(ast.parse(path.read_text()))
            if isinstance(n, ast.Constant) and isinstance(n.value, str)
        }
        if room_of(path) == "data_modules":
            assert not constants & set(METHODS), f"{path} names a method"
        if room_of(path) in ("methods", "evaluation"):
            assert not constants & set(DATASETS), f"{path} names a dataset"
