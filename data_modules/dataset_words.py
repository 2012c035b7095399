"""A dataset as a command line names it: NAME=FOLDER, with options of its reader behind a question mark."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import yaml

from data_modules.datasets import dataset_class


def dataset_words(text: str) -> tuple[str, str | None, dict[str, Any]]:
    """Splits `Folder=/photos?kind=binary&ignore_value=255`.

    Returns:
        name, folder (None where it is empty: Shapes needs none), options of the reader.

    Raises:
        ValueError: another form, an unknown name, or an option that its reader does not have.
    """
    name, separator, folder = text.partition("=")
    if not (name and separator):
        raise ValueError(f"a dataset is named as NAME=FOLDER, for example GrabCut=/data/GrabCut, got {text!r}")
    known = [option for option in inspect.signature(dataset_class(name)).parameters if option != "root"]
    if "?" not in folder or Path(folder).exists():
        return name, folder or None, {}
    folder, _, words = folder.rpartition("?")
    options = {}
    for option, _, value in (word.partition("=") for word in words.split("&")):
        if option not in known:
            raise ValueError(f"{text}: {name} has no option {option!r}; it has {', '.join(known) or 'none'}")
        try:
            options[option] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"{text}: {option} is {value!r}, which is no plain value") from error
    return name, folder or None, options
