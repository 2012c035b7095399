"""The plugin's manifest. (npe2 would load a plugin into every pytest run: it is asked by hand, docs/adapters.md.)"""

from __future__ import annotations

import ast
from importlib.resources import files

import yaml


def test_the_manifest_names_a_widget_that_is_there():
    folder = files("clicklab.adapters")
    manifest = yaml.safe_load((folder / "napari.yaml").read_text())
    (widget,) = manifest["contributions"]["widgets"]
    (command,) = manifest["contributions"]["commands"]
    assert manifest["name"] == "clicklab"  # the distribution's, as npe2 wants it
    assert widget["command"] == command["id"] and command["id"].startswith("clicklab.")
    module, _, name = command["python_name"].partition(":")
    tree = ast.parse((folder / f"{module.removeprefix('clicklab.adapters.')}.py").read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
