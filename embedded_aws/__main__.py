"""Start, stop and check the embedded AWS, or serve it in this process."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from embedded_aws import control

# Read by moto when its modules load, so set before `server` is imported.
MOTO_SETTINGS = {
    "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
    "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",  # images.py has ours
    "MOTO_ENABLE_AMI_VALIDATION": "true",  # RunInstances refuses unknown images and key pairs, as EC2 does
    "MOTO_ENABLE_KEYPAIR_VALIDATION": "true",
    "MOTO_DISABLE_GLOBAL_CORS": "true",  # a web page in a browser has no business here
}

app = typer.Typer(help=__doc__, no_args_is_help=True)
Port = Annotated[int | None, typer.Option(help=f"Port on loopback [{control.PORT_VARIABLE}, {control.DEFAULT_PORT}].")]
Mark = Annotated[str, typer.Option(hidden=True)]
BuildDir = Annotated[Path, typer.Option(help="Folder for the log and the process state.")]


@app.command()
def serve(port: Port = None, mark: Mark = "") -> None:
    """Serve in this process until it ends."""
    del mark  # only on the command line, for `control` to know the process by
    control.end_with(os.environ.get(control.ENDS_WITH))
    os.environ.update(MOTO_SETTINGS)
    from embedded_aws.server import serve as serve_forever

    serve_forever(control.default_port() if port is None else port)


@app.command()
def start(port: Port = None, build_dir: BuildDir = control.DEFAULT_BUILD_DIR) -> None:
    """Start it in the background; does nothing if it runs already."""
    endpoint = control.start(port, build_dir=build_dir)
    print(f"{endpoint.url} (pid {endpoint.pid}, log {endpoint.log_file})")


@app.command()
def stop(build_dir: BuildDir = control.DEFAULT_BUILD_DIR) -> None:
    """Stop it and delete everything in it."""
    print("stopped" if control.stop(build_dir) else "was not running")


@app.command()
def status(build_dir: BuildDir = control.DEFAULT_BUILD_DIR) -> None:
    """Show whether it runs; exits with 1 if not."""
    endpoint = control.status(build_dir)
    print(f"{endpoint.url} (pid {endpoint.pid}, log {endpoint.log_file})" if endpoint else "not running")
    raise typer.Exit(0 if endpoint else 1)


if __name__ == "__main__":
    try:
        app()
    except control.EmbeddedAwsError as error:
        sys.exit(f"error: {error}")
