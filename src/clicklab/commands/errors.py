"""How a command ends when the user made a mistake: in one line, with exit code 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path


def in_one_line(error: Exception, program: str) -> int:
    """Says what the user did wrong and returns exit code 2; raises the error again for CLICKLAB_DEBUG=1."""
    if os.environ.get("CLICKLAB_DEBUG"):
        raise error
    text = " ".join(str(error).split()) or type(error).__name__
    print(f"{program}: error: {text}", file=sys.stderr)
    return 2


def run_script(main: Callable[[], None]) -> int:
    """The exit code of a script (`benchmarks/`) whose mistakes end in one line too."""
    try:
        main()
    except (ValueError, OSError) as error:
        return in_one_line(error, Path(sys.argv[0]).name)
    return 0
