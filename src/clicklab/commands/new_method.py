"""`clicklab new-method`: the files of a new method, complete enough to train and to pass the contract tests."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

TEMPLATES = Path(__file__).with_name("new_method_files")
TABLE = Path("src/clicklab/methods/__init__.py")
LAST_LINE = re.compile(r"^METHODS: dict\[str, str\] = \{\n(?:    .*\n)*", re.MULTILINE)


def add_new_method(commands: argparse._SubParsersAction) -> None:
    """`new-method NAME`."""
    command = commands.add_parser(
        "new-method",
        description="Writes src/clicklab/methods/NAME and experiments/NAME, and adds NAME to METHODS. "
        "What it writes is a small working method: replace its parts by yours.",
    )
    command.add_argument("name", help="lower case, as in imports and experiments/, e.g. myclick")
    command.add_argument("--class-name", help="of the LightningModule (default: NAME in CamelCase)")
    command.add_argument("--official", action="store_true", help="also official.py, which reads released checkpoints")
    command.add_argument("--root", type=Path, default=Path(), metavar="DIR", help="the repository (default: here)")
    command.set_defaults(run=run_new_method)


def run_new_method(options: argparse.Namespace) -> int:
    """Writes the files and says what to do next."""
    class_name = options.class_name or options.name.replace("_", " ").title().replace(" ", "")
    for path in new_method(options.root, options.name, class_name, options.official):
        print(f"written: {path}")
    print(
        f"next: python -m pytest tests/methods/test_contract.py -k {options.name}; make smoke-{options.name}; "
        "docs/extending/method.md"
    )
    return 0


def new_method(root: Path, name: str, class_name: str, official: bool) -> list[Path]:
    """Writes a method's files below a repository.

    Args:
        root: the repository.
        name: of the method, a lower-case Python name.
        class_name: of its LightningModule.
        official: whether to write `official.py`.

    Returns:
        The files written, the table of methods included.

    Raises:
        ValueError: not a name, or one that is taken; nothing is written then.
        FileNotFoundError: `root` is not ClickLab's repository.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"{name!r} is no method name: lower-case letters, digits and _, beginning with a letter")
    if not class_name.isidentifier():
        raise ValueError(f"--class-name {class_name!r} is not a valid name of a Python class")
    table = root / TABLE
    if not table.is_file():
        raise FileNotFoundError(f"{table} does not exist: run this in ClickLab's repository, or give it as --root")
    folders = {"method": root / "src/clicklab/methods" / name, "experiments": root / "experiments" / name}
    for folder in folders.values():
        if folder.exists():
            raise ValueError(f"{folder} exists already: choose another name, or remove it")
    written = [table]
    _add_to_table(table, name)
    for part, folder in folders.items():
        folder.mkdir(parents=True)
        for template in sorted((TEMPLATES / part).glob("*.txt")):
            target = folder / template.stem
            if target.name == "official.py" and not official:
                continue
            target.write_text(_filled(template.read_text(), name, class_name, official))
            written.append(target)
    return written


def _add_to_table(table: Path, name: str) -> None:
    """One more line at the end of METHODS. Raises ValueError where the table is not found."""
    text = table.read_text()
    found = LAST_LINE.search(text)
    if found is None:
        raise ValueError(f"{table} has no table METHODS: add the line by hand")
    table.write_text(f'{text[: found.end()]}    "{name}": "clicklab.methods.{name}",\n{text[found.end() :]}')


def _filled(text: str, name: str, class_name: str, official: bool) -> str:
    exports = ["VARIANTS", f"{class_name}Net", "build", *(["from_official", "matches"] if official else [])]
    text = re.sub(r"^@IF_OFFICIAL@(.*\n)", r"\1" if official else "", text, flags=re.MULTILINE)
    text = text.replace("@EXPORTS@", ", ".join(f'"{export}"' for export in exports))
    return text.replace("@NAME@", name).replace("@CLASS@", class_name)
