"""`python -m clicklab`, the same as the command `clicklab`."""

from __future__ import annotations

import sys

from clicklab.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
