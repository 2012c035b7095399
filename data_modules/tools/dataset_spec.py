"""A dataset as a command line names it: NAME=FOLDER, with options of its reader behind a question mark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from data_modules.datasets import DATASETS, dataset_class
from data_modules.datasets.options import option_types, option_value
from data_modules.formats.notes import brief


def dataset_spec(text: str) -> tuple[str, str | None, dict[str, Any]]:
    """Splits `Folder=/photos?kind=binary&ignore_value=255`.

    Returns:
        name, folder (None where it is empty: Shapes needs none), options of the reader.

    Raises:
        ValueError: another form, or a value that is none.
    """
    name, separator, folder = text.partition("=")
    if not (name and separator):
        raise ValueError(
            f"a dataset is named as NAME=FOLDER, for example GrabCut=/data/GrabCut, got {brief(repr(text), 60)}"
        )
    if "?" not in folder or Path(folder).exists():
        return name, folder or None, {}
    folder, _, words = folder.rpartition("?")
    types = option_types(dataset_class(name)) if name in DATASETS else {}
    options = {}
    for option, _, value in (word.partition("=") for word in words.split("&")):
        try:
            options[option] = option_value(value, types.get(option, Any))
        except yaml.YAMLError as error:
            raise ValueError(f"{name}: {option} is {brief(repr(value), 40)}, which is no plain value") from error
    return name, folder or None, options
