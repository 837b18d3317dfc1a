"""The app that `cdktf` runs: settings in, Terraform JSON out."""

import os
import sys
from pathlib import Path

import constructs_lib  # noqa: F401  (first: makes the import of the AWS provider lazy)
from constructs_lib import errored_state, variables
from constructs_lib.cli_run import find_run
from constructs_lib.errored_state import ErroredStateError
from modules_equiv.settings import SettingsError, load_settings


def main() -> int:
    """Synthesizes all stacks. Returns the exit status."""
    try:
        # What runs after this is Terraform, with the same environment.
        variables.refuse(os.environ, "app")
        settings = load_settings()
    except (variables.RefusedVariableError, SettingsError) as error:
        print(error, file=sys.stderr)
        return 1
    # Not before the settings are right: this is what takes time.
    from modules_equiv.app import synthesize
    from modules_equiv.limit import LimitError
    from modules_equiv.protected import ProtectedError

    run = find_run()
    try:
        errored_state.refuse(Path(os.environ.get("CDKTF_OUTDIR", "cdktf.out")), run)
        synthesize(settings, run)
    except (ErroredStateError, LimitError, ProtectedError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
