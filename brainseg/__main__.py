"""``python -m brainseg`` is the program ``brainseg``."""

import sys

from brainseg.cli import main

sys.exit(main())
