"""Command-line flags made from the fields of a record: names, types, defaults and descriptions stand there alone."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping
from dataclasses import MISSING, Field, fields
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import docstring_parser


def add_record_flags(
    parser: argparse._ActionsContainer,
    record: type[Any],
    *,
    prefix: str = "",
    defaults: str = "",
    flags: Mapping[str, str] | None = None,
    leave_out: Collection[str] = (),
) -> None:
    """Adds one flag for each field; those not given do not appear in the namespace (`given_fields`).

    A field `max_clicks: int = 20` becomes `--max-clicks`, a field that is true by default `--no-<name>`, and one that
    may be true, false or left open both `--<name>` and `--no-<name>`.

    Args:
        parser: or a group of one.
        record: a dataclass whose docstring describes its fields under `Attributes`.
        prefix: of the flags, and of their entries in the namespace.
        defaults: what to say of all defaults, where they are not the record's.
        flags: field -> flag, where it is not the field's name.
        leave_out: fields without a flag of this kind.
    """
    hints, descriptions = get_type_hints(record), field_descriptions(record)
    for field in fields(record):
        if field.name in leave_out:
            continue
        flag = (flags or {}).get(field.name) or f"--{prefix}{field.name}".replace("_", "-")
        keywords = _keywords(field, hints[field.name], flag)
        text = _help(descriptions[field.name], field, defaults)
        dest = prefix + field.name
        parser.add_argument(*keywords.pop("flags"), dest=dest, default=argparse.SUPPRESS, help=text, **keywords)


def given_fields(record: type[Any], options: argparse.Namespace, prefix: str = "") -> dict[str, Any]:
    """Field -> value of those that were given on the command line."""
    given = {
        field.name: vars(options)[prefix + field.name]
        for field in fields(record)
        if prefix + field.name in vars(options)
    }
    hints = get_type_hints(record)
    return {name: _value(value, hints[name]) for name, value in given.items()}


def field_descriptions(record: type[Any]) -> dict[str, str]:
    """Field -> its description; a base class's where both describe it."""
    found: dict[str, str] = {}
    for kind in reversed(record.__mro__):
        parsed = docstring_parser.parse(kind.__doc__ or "")
        for parameter in parsed.params:
            found.setdefault(parameter.arg_name, " ".join((parameter.description or "").split()))
    return found


def _keywords(field: Field[Any], hint: Any, flag: str) -> dict[str, Any]:
    """Arguments of `add_argument` for a type, with the names of the flag under `flags`."""
    kinds, optional = _kinds(hint)
    kind = kinds[0]
    if kind is bool:
        if optional:
            return {"flags": [flag], "action": argparse.BooleanOptionalAction}
        if field.default:
            return {"flags": [flag.replace("--", "--no-", 1)], "action": "store_false"}
        return {"flags": [flag], "action": "store_true"}
    if get_origin(kind) is Literal:
        return {"flags": [flag], "choices": get_args(kind)}
    several = [entry for entry in kinds if get_origin(entry) is tuple]
    if several:
        (number, *_) = get_args(several[0])
        return {"flags": [flag], "type": number, "nargs": "+", "metavar": "N"}
    return {"flags": [flag], "type": kind, "metavar": {int: "N", float: "X"}.get(kind, "TEXT")}


def _kinds(hint: Any) -> tuple[list[Any], bool]:
    """The types of a union without None, and whether None is one of them."""
    if get_origin(hint) in (Union, UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not type(None)]
        return kinds, len(kinds) < len(get_args(hint))
    return [hint], False


def _help(description: str, field: Field[Any], default: str) -> str:
    """What `--help` says of a field, in the tone of other help texts: no full stop, the default in brackets."""
    text = description.replace("None:", "Default:").removeprefix("False: ")
    known = field.default is not MISSING and field.default is not None and not isinstance(field.default, bool)
    if not default and known and "default" not in text.lower():
        shown = " ".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
        default = f"default {shown}"
    if default:
        return f"{text.rstrip('.')} ({default})".replace("%", "%%")
    return text.replace("%", "%%")


def _value(value: Any, hint: Any) -> Any:
    """What was read, as the field wants it: one number where one or a pair is allowed, tuples for lists."""
    if not isinstance(value, list):
        return value
    kinds, _ = _kinds(hint)
    return value[0] if len(value) == 1 and int in kinds else tuple(value)
