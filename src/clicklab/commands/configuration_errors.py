"""What the configuration parser says in forty lines, in one: which setting, what is wrong with it, what there is."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pkgutil import resolve_name
from typing import Any, get_args, get_type_hints

from clicklab.nn.variants import unknown_name

LENGTH = 200  # of a message, in characters


def in_short(text: str, command: str) -> str:
    """The same in one line.

    Args:
        text: what jsonargparse said.
        command: fit, validate or test, for the way to its help.
    """
    place = ".".join(re.findall(r'Parser key "([\w.+\[\]]+)"', text))
    classes = re.findall(r"given class_path '([\w.]+)'", text)
    lines = [line.strip(" -") for line in text.splitlines()]
    help_all = f"clicklab {command} --help-all"
    if found := re.search(r"Option '([^']+)' is not accepted", text):
        return unknown_name(f"{place}: {_last(classes)} has no setting", found[1], _settings(classes), LENGTH)
    if found := re.search(r"unrecognized arguments?: --([\w.+-]+)", text):
        return _unrecognized(place, classes, found[1], command)
    if found := re.search(r"[Mm]odule '([\w.]+)' has no attribute '(\w+)'", text):
        return unknown_name(f"{place}: {found[1]} has no", found[2], _classes(found[1]), LENGTH)
    if found := re.search(r"File does not exist: '?([^'\n]+)", text):
        return f"{found[1]}: there is no such file; a recipe's files lie in experiments/METHOD/ and experiments/_base/"
    if "object has no attribute 'keys'" in text:
        return f"{place}: init_args is empty (null): give the settings below it, or leave the line out"
    if found := re.search(r"Expected a (?:<class ')?([^\n]+?)'?>?\. (?:Got|Given) value:? ([^\n]+)", text):
        return f"{place or lines[0][:40]}: {found[2][:60]!r} is not of type {found[1][:40]}; see {help_all}"
    return _cut(_deepest(lines), f"; see {help_all}")


def _last(classes: list[str]) -> str:
    return classes[-1].rpartition(".")[2] if classes else "the command"


def _classes(package: str) -> list[str]:
    """The classes of a package; of a method's the LightningModules first, which it imports on demand."""
    found: list[str] = []
    for place in (f"{package}.module", package):
        with suppress(ImportError, AttributeError):
            inside = vars(resolve_name(place))
            found += [name for name, value in inside.items() if inspect.isclass(value) and package in value.__module__]
    return list(dict.fromkeys(found))


def _settings(classes: list[str]) -> list[str]:
    """Names of the constructor's arguments of the class that is meant, and of those its own go on to."""
    try:
        kind = resolve_name(classes[-1])
    except (ImportError, AttributeError, IndexError, ValueError):
        return []
    return [name for name, entry in inspect.signature(kind).parameters.items() if entry.kind is not entry.VAR_KEYWORD]


def _unrecognized(place: str, classes: list[str], argument: str, command: str) -> str:
    first, _, rest = argument.partition(".")
    if not classes:
        what = {"trainer": "lightning.pytorch.Trainer"}.get(first)
        if what is None or not rest:
            most = "most begin with --model. --data. or --trainer."
            return f"there is no --{argument[:60]}; {most}; see clicklab {command} --help"
        return unknown_name("--trainer has no setting", rest, _settings([what]), LENGTH)
    known: Mapping[str, Any] = get_type_hints(resolve_name(classes[-1]).__init__)
    kinds = [known.get(first), *get_args(known.get(first))]
    nested = next((kind for kind in kinds if is_dataclass(kind)), None)
    if nested is None or not rest:
        return unknown_name(f"{place}: {_last(classes)} has no setting", argument, _settings(classes), LENGTH)
    return unknown_name(f"{place}.{first} has no setting", rest, [field.name for field in fields(nested)], LENGTH)


def _deepest(lines: list[str]) -> str:
    """The last line that says something and is no frame around others."""
    frames = ("Parser key", "Does not validate", "Subtypes", "Errors", "Given value", "Expected a <class 'NoneType'>")
    said = [line for line in lines if line and not line.startswith((*frames, "Problem with given class_path"))]
    return said[-1] if said else " ".join(" ".join(lines).split())


def _cut(text: str, end: str) -> str:
    text = " ".join(text.split())
    room = LENGTH - len(end)
    return (text if len(text) <= room else f"{text[: room - 3]}...") + end
