"""``python -m artclip``."""

import sys

from artclip.cli.main import main

sys.exit(main())
