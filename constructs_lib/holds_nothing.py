"""Exit with status 1 and the reason unless the states of the named stacks are empty and unlocked.

Terraform runs this text (`python3 -c`) before it destroys what those stacks depend on, so it imports no module of this
project. Its input is in the environment: BUCKET, REGION, PATH_STYLE ("true"), STATES (JSON: stack -> key of its state).
"""

import json
import os
import sys
from typing import Any


def main() -> int:
    """Return 0 if no stack depends on this one."""
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        return refuse("this Python lacks boto3, which the check needs: run make shell, and destroy from that shell")
    style: Any = {"addressing_style": "path" if os.environ["PATH_STYLE"] == "true" else "auto"}
    try:
        s3 = boto3.client("s3", region_name=os.environ["REGION"], config=Config(s3=style, retries={"mode": "standard"}))
        found = [
            reason
            for stack, key in json.loads(os.environ["STATES"]).items()
            for reason in reasons(s3, os.environ["BUCKET"], stack, key, ClientError)
        ]
    except (BotoCoreError, ClientError, ValueError) as error:
        return refuse(f"the check for stacks that depend on it failed: {error}")
    if found:
        return refuse("other stacks still depend on it:", *found)
    return 0


def reasons(s3: Any, bucket: str, stack: str, key: str, missing: type[Exception]) -> list[str]:
    """Return each reason why the stack prevents the destroy, with its fix."""
    found = []
    body = read(s3, bucket, key, missing)
    state = json.loads(body) if body else {}
    count = sum(len(each["instances"]) for each in state.get("resources", []) if each["mode"] == "managed")
    if count:
        found.append(f"{stack}: its state has {count} resource{'' if count == 1 else 's'}: cdktf destroy {stack}")
    if read(s3, bucket, f"{key}.tflock", missing) is not None:
        found.append(f"{stack}: its state is locked: wait for that run to end; if it is gone: ops unlock {stack}")
    return found


def read(s3: Any, bucket: str, key: str, missing: type[Exception]) -> bytes | None:
    """Return the object, or None if it does not exist."""
    try:
        body: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except missing as error:
        if error.response["Error"]["Code"] == "NoSuchKey":  # type: ignore[attr-defined]
            return None
        raise
    return body


def refuse(*lines: str) -> int:
    """Print the reason, which Terraform repeats, and return status 1."""
    stack = os.environ["STACK"]
    # Terraform removes the outputs from the state before it destroys anything.
    restore = f"Terraform removed only its outputs, which the other stacks read. To restore them: cdktf deploy {stack}"
    print(f"No resource of {stack} was destroyed:", *lines, restore, sep="\n  ", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
