"""Help of `clicklab data` needs none of the large libraries, and its lists are those of the code."""

from __future__ import annotations

import subprocess
import sys

import pytest

from data_modules.tools import arguments
from data_modules.tools.export_shapes import LAYOUTS

ACTIONS = ("", "show", "check", "export-shapes", "build-coco-lvis", "import-hannotation", "pack", "index")


@pytest.mark.parametrize("action", ACTIONS)
def test_help_imports_no_large_library(action):
    code = (
        "import sys\nfrom clicklab.commands.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n    assert not end.code\n"
        "large = {'torch', 'albumentations', 'matplotlib', 'cv2', 'scipy', 'lightning', 'PIL'} & set(sys.modules)\n"
        "assert not large, large"
    )
    words = ["data", *([action] if action else []), "--help"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "usage: clicklab data" in done.stdout, done.stderr


def test_the_layouts_offered_are_those_that_are_written():
    assert sorted(arguments.LAYOUTS) == sorted(LAYOUTS)
