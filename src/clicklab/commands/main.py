"""The `clicklab` command. Training commands are Lightning's own CLI; the others are small parsers. Imports are lazy."""

from __future__ import annotations

import argparse
import io
import sys

from clicklab.commands.convert import add_convert
from clicklab.commands.data import add_data
from clicklab.commands.demo import add_demo
from clicklab.commands.errors import in_one_line
from clicklab.commands.evaluate import add_evaluate

TRAINING = {
    "fit": "train a method from experiments/*.yaml (LightningCLI)",
    "validate": "measure a training checkpoint on the validation sets of its configuration (LightningCLI)",
    "test": "measure a training checkpoint on the test sets of its configuration (LightningCLI)",
}


def main(argv: list[str] | None = None) -> int:
    """Runs one command; user errors end in one line and exit code 2 (CLICKLAB_DEBUG=1 shows the traceback)."""
    from data_modules.process_memory import keep_freed_memory

    arguments = sys.argv[1:] if argv is None else argv
    keep_freed_memory()
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names need not be text: such bytes are printed as they are
        sys.stdout.reconfigure(errors="surrogateescape")
    try:
        if arguments and arguments[0] in TRAINING:
            from clicklab.commands.train import train

            return train(arguments)
        options = build_parser(with_data=arguments[:1] == ["data"]).parse_args(arguments)
        return options.run(options)
    except (ValueError, OSError) as error:
        return in_one_line(error, "clicklab")
    except KeyboardInterrupt:
        print("\nclicklab: stopped; what was finished is kept, the same command goes on from there", file=sys.stderr)
        return 130


def build_parser(with_data: bool = True) -> argparse.ArgumentParser:
    """The parser of the commands that need no trainer; `data` costs an import of torch: on demand."""
    parser = argparse.ArgumentParser(prog="clicklab", description="Train, compare and use click-based segmentation.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, text in TRAINING.items():
        commands.add_parser(name, help=text, add_help=False)
    add_evaluate(commands)
    add_convert(commands)
    add_data(commands, with_data)
    add_demo(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
