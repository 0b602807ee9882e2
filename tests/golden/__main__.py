"""`python -m tests.golden FOLDER`: check every golden file of a folder."""

import sys

from .runner import main

sys.exit(main(sys.argv[1:]))
