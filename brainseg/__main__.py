"""``python -m brainseg`` is the program ``brainseg``."""

import sys

from brainseg.cli.main import main

sys.exit(main())
