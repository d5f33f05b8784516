"""``python -m mentor`` is the command line."""

from __future__ import annotations

import sys

from mentor.cli.main import main

sys.exit(main())
