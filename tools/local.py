"""`make local`: the whole infrastructure on the embedded AWS, by the same commands that build it on AWS."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3
import psutil
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table

from constructs_lib import variables as table
from constructs_lib.variables import RefusedVariableError
from embedded_aws import control
from embedded_aws.control import EmbeddedAwsError
from modules_equiv.settings import Settings, SettingsError, load_settings
from ops.account.state_bucket import StateBucket
from ops.core import environment, plain
from ops.core.environment import BUILD, LOCAL_BUCKET, LOCAL_KEY_PAIR, LOCAL_SETTINGS, ROOT
from ops.core.session import Session
from ops.core.stack_names import STACKS
from ops.core.terraform import TerraformError

SERVER_DIR = BUILD / "embedded-aws"
_STOP_SECONDS = 600  # a NAT gateway takes minutes
DEPLOYS = (("mlcore", "stats-monitor"), ("train-model",))


class LocalError(Exception):
    """A step failed; the message says which, why, and what to do."""


def main(arguments: list[str] | None = None) -> int:
    """Run `up` or `down`; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.local", description=__doc__)
    parser.add_argument("what", choices=["up", "down"])
    options = parser.parse_args(arguments)
    plain.readable()
    console = Console()
    for line in table.left_out(os.environ, "local"):
        print(f"local: {line}", file=sys.stderr)
    _seal()
    try:
        up(console) if options.what == "up" else down(console)
    except (LocalError, EmbeddedAwsError, TerraformError, SettingsError, RefusedVariableError) as error:
        console.file.flush()
        print(f"\nlocal: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "\nlocal: interrupted. `make local` continues from here; `make local-down` destroys everything.",
            file=sys.stderr,
        )
        return 130
    return 0


def _seal() -> None:
    """Remove the person's AWS settings from this process's environment."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if (row := table.row_of(name)) is None or row.at("local") != "cleared"
    }
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
        kept.pop(name, None)
    os.environ.clear()
    os.environ.update(kept, AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull)


def variables(endpoint: control.Endpoint, region: str, base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment in which the cdktf commands talk to this embedded AWS and to nothing else."""
    return {
        **environment.commands(base, place="local"),
        **control.environment(endpoint, region=region),
        **LOCAL_SETTINGS,
        # A folder of its own: Terraform remembers in it which bucket the state is in.
        "CDKTF_OUTPUT": str(_output()),
    }


def running_environment() -> dict[str, str]:
    """Return the environment for the embedded AWS that is running. Raises EmbeddedAwsError when none is."""
    endpoint = control.status(SERVER_DIR)
    if endpoint is None:
        raise EmbeddedAwsError("the embedded AWS is not running: start it with make local")
    return variables(endpoint, _settings().deployment.region)


def up(console: Console) -> None:
    """Start the embedded AWS, deploys as the README says, shows what there is. Run again, it brings all up to date."""
    settings = _settings()
    environment.commands()  # Terraform and its provider, before anything is started
    # One that an earlier run left behind would go on in the account that is there now.
    _wait_for_terraform()
    console.print("Starting the embedded AWS …")
    endpoint = control.start(build_dir=SERVER_DIR)
    console.print(f"Embedded AWS at {endpoint.url}")
    _forget_earlier_account(settings, endpoint)
    prepare_account(settings, endpoint, BUILD / "local")
    for stacks in DEPLOYS:
        _cdktf(console, ["deploy", *stacks, "--auto-approve"], variables(endpoint, settings.deployment.region))
    _show(console, settings, endpoint)


def down(console: Console) -> None:
    """Destroy every stack, the file system too, and stops the embedded AWS. Without one running it does nothing."""
    endpoint = control.status(SERVER_DIR)
    if endpoint is None:
        console.print("The embedded AWS is not running: nothing to destroy.")
        control.stop(SERVER_DIR)
        return
    settings = _settings()
    if any(_state(settings, endpoint, stack) for stack in STACKS):
        # What holds data is released by name: nothing of the embedded AWS outlives the next line.
        released = {"ML_INFRA_MLCORE__ALLOW_EFS_DESTROY": "true"}
        _cdktf(console, ["destroy", "*", "--auto-approve"], variables(endpoint, settings.deployment.region) | released)
    control.stop(SERVER_DIR)
    console.print("Stopped the embedded AWS.")


def _forget_earlier_account(settings: Settings, endpoint: control.Endpoint) -> None:
    """Removes Terraform's working folders of an embedded AWS that is gone, when this one is new.

    With it went all that it held. Where it was killed during a deploy, these folders keep a state that could not be
    written, which no run may pass over as long as what it names may exist.
    """
    try:
        _client("s3", endpoint, settings.state.region).head_bucket(Bucket=LOCAL_BUCKET)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise LocalError(f"the bucket {LOCAL_BUCKET} cannot be looked up: {error}") from error
        shutil.rmtree(_output(), ignore_errors=True)


def prepare_account(settings: Settings, endpoint: control.Endpoint, folder: Path) -> None:
    """Prepare the account as a person does before the first deploy: the state bucket, and a key pair in `folder`."""
    for _step in StateBucket(_session(settings, endpoint)).make_right(check=False):
        pass
    ec2 = _client("ec2", endpoint, settings.deployment.region)
    names = [pair["KeyName"] for pair in ec2.describe_key_pairs()["KeyPairs"]]
    if LOCAL_KEY_PAIR not in names:
        private = ec2.create_key_pair(KeyName=LOCAL_KEY_PAIR)["KeyMaterial"]
        file = folder / f"{LOCAL_KEY_PAIR}.pem"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.touch(mode=0o600)
        file.write_text(private, encoding="utf-8")


def _session(settings: Settings, endpoint: control.Endpoint) -> Session:
    """Return the session that `Session.open()` gives in `make local-shell`, whatever this environment says."""

    class Local(Session):
        def client(self, service: str, region: str | None = None) -> Any:
            return _client(service, endpoint, region or settings.deployment.region)

    return Local(settings)


def _settings() -> Settings:
    return load_settings(environ={**os.environ, **LOCAL_SETTINGS})


def _client(service: Any, endpoint: control.Endpoint, region: str) -> Any:
    names = control.environment(endpoint)
    return boto3.Session().client(
        service,
        region_name=region,
        endpoint_url=endpoint.url,
        aws_access_key_id=names["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=names["AWS_SECRET_ACCESS_KEY"],
    )


def _cdktf(console: Console, arguments: Sequence[str], variables: Mapping[str, str]) -> None:
    """Run the CLI with its output in a log, shows the line it is at, and the end of the log when it fails."""
    program = ROOT / "node_modules" / ".bin" / "cdktf"
    title = f"cdktf {' '.join(argument for argument in arguments if argument != '--auto-approve')}"
    log = BUILD / "local" / "cdktf.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    last: deque[str] = deque(maxlen=30)
    with log.open("a", encoding="utf-8") as file, console.status(title) as status:
        file.write(f"\n== {title}\n")
        # CI=1 turns off the CLI's spinner, whose control characters make no log.
        process = subprocess.Popen(
            [program, *arguments],
            cwd=ROOT,
            env={**variables, "CI": "1", "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        assert process.stdout is not None
        try:
            _follow(process.stdout, file.write, last, lambda line: status.update(f"{title}: {line[:60]}"))
        except KeyboardInterrupt:
            process.wait()
            # The CLI ends at once; its Terraform finishes what it is doing, writes the state and gives the lock back.
            status.update("Terraform stops …")
            _wait_for_terraform()
            raise
        code = process.wait()
    seconds = time.monotonic() - started
    if code != 0:
        raise LocalError(
            "\n".join([*last, "", f"{title} failed (exit status {code}); full log: {log.relative_to(ROOT)}"])
        )
    console.print(f"{title}: done in {seconds:.0f} s")


def _wait_for_terraform() -> None:
    """Wait until no Terraform works for `make local`. Raise LocalError after ten minutes."""
    _, alive = psutil.wait_procs(_terraforms(), timeout=_STOP_SECONDS)
    if alive:
        raise LocalError(
            f"Terraform (process {alive[0].pid}) has not stopped after {_STOP_SECONDS} s: wait until it ends, then run "
            "this again"
        )


def _terraforms() -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.name() == "terraform" and Path(process.cwd()).is_relative_to(_output()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def _output() -> Path:
    """Where the CLI has Terraform work for the embedded AWS."""
    return BUILD / "local" / "cdktf.out"


def _follow(stream: Any, write: Callable[[str], object], last: deque[str], show: Callable[[str], None]) -> None:
    for line in stream:
        write(line)
        text = line.strip()
        if text:
            last.append(line.rstrip())
            show(text)


def _state(settings: Settings, endpoint: control.Endpoint, stack: str) -> dict[str, Any] | None:
    """Return a stack's Terraform state, or None when there is none or nothing in it."""
    key = settings.stack_deployment().state_key(stack)
    try:
        body = _client("s3", endpoint, settings.state.region).get_object(Bucket=LOCAL_BUCKET, Key=key)["Body"].read()
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "NoSuchBucket"):
            return None
        raise LocalError(f"cannot read the state {key}: {error}") from error
    except BotoCoreError as error:
        raise LocalError(f"cannot read the state {key}: {error}") from error
    state: dict[str, Any] = json.loads(body)
    return state if state.get("resources") else None


def _show(console: Console, settings: Settings, endpoint: control.Endpoint) -> None:
    table = Table(title="Deployed on the embedded AWS", title_justify="left")
    table.add_column("stack")
    table.add_column("resources", justify="right")
    table.add_column("outputs", overflow="fold")
    for stack in STACKS:
        state = _state(settings, endpoint, stack)
        if state is None:
            table.add_row(stack, "-", f"not deployed: cdktf deploy {stack}")
            continue
        managed = sum(len(resource["instances"]) for resource in state["resources"] if resource["mode"] == "managed")
        rows = [f"{name} = {_short(output['value'])}" for name, output in sorted(state["outputs"].items())]
        table.add_row(stack, str(managed), "\n".join(rows) or "none")
    console.print()
    console.print(table)
    console.print(
        "Next:\n"
        "  make local-shell                     open a shell for the embedded AWS, and there:\n"
        "    ops status                           stacks and machines; ops --help lists all commands\n"
        "    ops cost                             what everything costs on AWS\n"
        "    cdktf output mlcore                  the outputs of mlcore\n"
        "    cdktf deploy train-model-dev         deploy the notebook\n"
        "    cdktf diff train-model               the effect of a changed setting\n"
        "    cdktf destroy train-model            delete the training machine\n"
        "  make local-down                      destroy everything and stop the embedded AWS",
        highlight=False,
        soft_wrap=True,
    )


def _short(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("id") or value.get("name") or value
    return str(value)


if __name__ == "__main__":
    sys.exit(main())
