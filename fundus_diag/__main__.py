"""`python -m fundus_diag` is `fundus-diag`."""

import sys

from fundus_diag.cli import main

if __name__ == "__main__":
    sys.exit(main())
