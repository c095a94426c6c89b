"""``python -m artclip``."""

import sys

from artclip.cli import main

sys.exit(main())
