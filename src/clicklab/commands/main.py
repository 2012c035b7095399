"""The `clicklab` command. It only dispatches: a command's own file is imported when the command is called.

Training commands are Lightning's own command line; the others are small parsers. Adding a command is one line in
`COMMANDS` and a file `commands/<name>.py` with a function `add_<name>(commands)` (a dash in the name is an underscore
there). Such a file imports what its `run` needs inside of it, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import io
import sys
from difflib import get_close_matches
from importlib import import_module
from typing import NoReturn

from clicklab import __version__
from clicklab.commands.errors import in_one_line

TRAINING = {
    "fit": "train a method from experiments/*.yaml (LightningCLI)",
    "validate": "measure a training checkpoint on the validation sets of its configuration (LightningCLI)",
    "test": "measure a training checkpoint on the test sets of its configuration (LightningCLI)",
}
COMMANDS = {
    "evaluate": "NoC of a checkpoint, ours or official, on datasets given by folder",
    "compare": "one table and one figure of several runs and of published numbers",
    "annotate": "make masks by clicks in the browser; export and count them",
    "report": "one HTML page: numbers, curves, the worst objects click by click",
    "predict": "masks of photos from clicks that are known beforehand",
    "convert": "an official checkpoint into our plain format (no foreign pickles)",
    "data": "look at datasets, build and convert them",
    "tables": "the papers' tables: list, run, lay out beside the published numbers",
    "sweep": "run a sweep file here: grid, random or Bayesian, resumable",
    "export": "a network as ONNX graphs with a runtime that needs no torch",
    "serve": "answer the clicks of Label Studio and X-AnyLabeling",
    "demo": "train a small network on generated shapes, measure and draw it",
    "new-method": "write the files of a new method that trains and passes the contract tests",
}
# What other tools call these commands.
HABITS = {
    "train": "fit",
    "eval": "evaluate",
    "evaluation": "evaluate",
    "val": "validate",
    "infer": "predict",
    "inference": "predict",
    "segment": "predict",
    "label": "annotate",
    "gui": "annotate",
    "export-onnx": "export",
    "server": "serve",
    "backend": "serve",
}


class OneLineParser(argparse.ArgumentParser):
    """Wrong arguments end in one line that says where the right ones stand."""

    def error(self, message: str) -> NoReturn:
        """Raises ValueError in place of argparse's exit."""
        raise ValueError(f"{' '.join(message.split())[:150]}; see {self.prog} --help")


def main(argv: list[str] | None = None) -> int:
    """Runs one command; user errors end in one line and exit code 2 (CLICKLAB_DEBUG=1 shows the traceback)."""
    from data_modules.process_memory import keep_freed_memory

    arguments = sys.argv[1:] if argv is None else argv
    keep_freed_memory()
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names need not be text: such bytes are printed as they are
        sys.stdout.reconfigure(errors="surrogateescape")
    try:
        if arguments and arguments[0] in TRAINING:
            return _run_training(arguments)
        if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
            raise ValueError(unknown_command(arguments[0]))
        options = build_parser(arguments[0] if arguments else None).parse_args(arguments)
        return options.run(options)
    except (ValueError, OSError) as error:
        return in_one_line(error, "clicklab")
    except KeyboardInterrupt:
        print("\nclicklab: stopped; what was finished is kept, the same command goes on from there", file=sys.stderr)
        return 130


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands that need no trainer; only `command`, the one that is called, has its arguments."""
    parser = OneLineParser(prog="clicklab", description="Train, compare and use click-based segmentation.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, text in TRAINING.items():
        commands.add_parser(name, help=text, add_help=False)
    for name, text in COMMANDS.items():
        if name == command:
            module = name.replace("-", "_")
            getattr(import_module(f"clicklab.commands.{module}"), f"add_{module}")(commands)
        else:
            commands.add_parser(name, help=text)
    return parser


def unknown_command(word: str) -> str:
    """One line about a command that does not exist: the one that is meant, or else all there are."""
    known = [*TRAINING, *COMMANDS]
    meant = [HABITS[word]] if HABITS.get(word) in known else get_close_matches(word, known, n=1)
    hint = f"did you mean `clicklab {meant[0]}`? All: clicklab --help" if meant else f"Commands: {', '.join(known)}"
    return f"there is no command {word[:30]!r}. {hint}"


def _run_training(arguments: list[str]) -> int:
    """`fit`, `validate`, `test`: a short help of ours, which answers at once; everything else is Lightning's."""
    if arguments[1:] in (["--help"], ["-h"]):
        from clicklab.commands.training_help import training_help

        print(training_help(arguments[0], TRAINING[arguments[0]]))
        return 0
    from clicklab.commands.train import train

    return train([arguments[0], "--help"] if arguments[1:] == ["--help-all"] else arguments)


if __name__ == "__main__":
    sys.exit(main())
