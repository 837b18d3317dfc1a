"""`python -m ops`."""

import sys

try:
    from ops.cli import main
except KeyboardInterrupt:  # loading takes half a second, in which people change their minds
    print("ops: interrupted", file=sys.stderr)
    sys.exit(130)

sys.exit(main())
