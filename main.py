"""The app that `cdktf` runs: synthesize Terraform JSON from the settings."""

import os
import sys
from pathlib import Path

import constructs_lib  # noqa: F401  (first: makes the import of the AWS provider lazy)
from constructs_lib import errored_state, variables
from constructs_lib.cli_run import find_run
from constructs_lib.errored_state import ErroredStateError
from modules_equiv.settings import SettingsError, load_settings


def main() -> int:
    """Synthesize all stacks, and return the exit status."""
    try:
        # Terraform runs next, with the same environment.
        variables.refuse(os.environ, "app")
        settings = load_settings()
    except (variables.RefusedVariableError, SettingsError) as error:
        print(error, file=sys.stderr)
        return 1
    # Import these only once the settings are valid, since the imports are slow.
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
