"""Synthesizes the four stacks for several deployments in one process: `python -m benchmarks.many 50 OUTDIR`.

Each deployment is an app of its own, since the ids of the stacks are fixed. All of them stay in one jsii kernel, which
forgets nothing until it ends, so the process carries as many resources as one app that held them all.
"""

import sys
from pathlib import Path

import constructs_lib  # noqa: F401  (first: makes the import of the AWS provider lazy)
from modules_equiv.settings import load_settings


def main(count: int, outdir: Path) -> None:
    """Writes the deployments copy-0, copy-1, … to folders of these names."""
    settings = load_settings()
    from cdktf import App

    from modules_equiv.app import add_stacks

    for number in range(count):
        deployment = settings.deployment.model_copy(update={"name": f"copy-{number}"})
        app = App(outdir=str(outdir / deployment.name))
        add_stacks(app, settings.model_copy(update={"deployment": deployment}))
        app.synth()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
