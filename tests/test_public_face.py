"""What somebody sees who types `import clicklab`, `python -m clicklab` or `--help`."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import clicklab

REPOSITORY = Path(__file__).resolve().parents[1]
SLOW_TO_IMPORT = ("torch", "lightning", "cv2", "scipy", "timm", "matplotlib", "wandb")
SHOW_HELP = f"""
import sys
from clicklab.commands.main import COMMANDS, TRAINING, main
loaded = {{}}
for words in ([], *([name] for name in (*TRAINING, *COMMANDS))):
    try:
        main([*words, "--help"])
    except SystemExit as ended:
        assert ended.code == 0, words
    for name in set({SLOW_TO_IMPORT}) & set(sys.modules):
        loaded.setdefault(name, words)
print(loaded or "nothing slow was imported")
"""


def run(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    return done.stdout


def test_help_of_every_command_imports_nothing_slow():
    assert run("-c", SHOW_HELP).splitlines()[-1] == "nothing slow was imported"


def test_the_page_and_its_network_import_no_more_than_they_need():
    code = (
        "import clicklab.annotate.serve, clicklab, sys; clicklab.Session(clicklab.load()); print(sorted(sys.modules))"
    )
    loaded = set(ast.literal_eval(run("-c", code)))
    assert not loaded & {"torchvision", "torch._dynamo", "lightning", "timm", "matplotlib", "scipy", "wandb"}


def test_the_package_runs_as_a_module():
    assert run("-m", "clicklab", "--version").strip() == clicklab.__version__


def test_public_names_are_listed_and_can_be_imported():
    assert set(clicklab.__all__) <= set(dir(clicklab))
    assert all(getattr(clicklab, name).__module__.startswith("clicklab.") for name in clicklab.__all__)


def test_type_checkers_see_the_public_names():
    tree = ast.parse(Path(clicklab.__file__).read_text())
    guarded = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    imports = [node for node in guarded.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.name: node.module for node in imports for alias in node.names}
    assert seen == clicklab._HOMES
    assert sorted(seen) == sorted(clicklab.__all__)
    assert Path(clicklab.__file__).with_name("py.typed").exists()
