"""A dataset as a command line names it: NAME=FOLDER, with options of its reader behind a question mark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def dataset_spec(text: str) -> tuple[str, str | None, dict[str, Any]]:
    """Splits `Folder=/photos?kind=binary&ignore_value=255`.

    Returns:
        name, folder (None where it is empty: Shapes needs none), options of the reader.

    Raises:
        ValueError: another form, or a value that is none.
    """
    name, separator, folder = text.partition("=")
    if not (name and separator):
        raise ValueError(f"a dataset is named as NAME=FOLDER, for example GrabCut=/data/GrabCut, got {text!r}")
    if "?" not in folder or Path(folder).exists():
        return name, folder or None, {}
    folder, _, words = folder.rpartition("?")
    options = {}
    for option, _, value in (word.partition("=") for word in words.split("&")):
        try:
            options[option] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"{text}: {option} is {value!r}, which is no plain value") from error
    return name, folder or None, options
