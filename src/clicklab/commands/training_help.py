"""The help of `fit`, `validate` and `test`: what is needed most, without the seconds that Lightning's parser takes."""

from __future__ import annotations

HELP = """usage: clicklab {command} --config FILE [--config FILE ...] [--SETTING=VALUE ...]

{text}

Configuration files are merged from left to right; settings on the command line come last:

  clicklab {command} --config experiments/_base/trainer.yaml --config experiments/simpleclick/config.yaml \\
    --trainer.devices=8 --model.init_args.learning_rate=1e-4

options:
  -h, --help              this page
  --help-all              every setting of the trainer and the command
  --config FILE           a file of experiments/; may be repeated
  --print_config          print the merged configuration and stop
  --model.help CLASS      settings of a method, e.g. clicklab.methods.simpleclick.SimpleClick
  --data.help CLASS       settings of the data, e.g. data_modules.InteractiveDataModule
  --ckpt_path FILE        the checkpoint to go on from or to measure; `last`: that of the run folder
  --seed_everything N     of every random number
  --trainer.NAME=VALUE    a setting of the trainer: default_root_dir (the run folder), max_epochs, precision ...
  --model.init_args.NAME=VALUE, --data.init_args.NAME=VALUE

`make train-METHOD`, `make smoke-METHOD` and `make help` build such command lines."""


def training_help(command: str, text: str) -> str:
    """The page for `clicklab COMMAND --help`."""
    return HELP.format(command=command, text=text)
