"""Refuses, with status 1 and the reason, unless the states of the named stacks hold nothing and nobody has locked them.

Terraform runs this text (`python3 -c`) before it destroys what those stacks stand on, so it imports nothing of ours.
Its input is in the environment: BUCKET, REGION, PATH_STYLE ("true"), STATES (JSON: stack -> key of its state).
"""

import json
import os
import sys
from typing import Any


def main() -> int:
    """Returns 0 when there is nothing above."""
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        return refuse("this Python lacks boto3, with which to look: destroy from the shell that make shell opens")
    style: Any = {"addressing_style": "path" if os.environ["PATH_STYLE"] == "true" else "auto"}
    try:
        s3 = boto3.client("s3", region_name=os.environ["REGION"], config=Config(s3=style, retries={"mode": "standard"}))
        found = [
            reason
            for stack, key in json.loads(os.environ["STATES"]).items()
            for reason in reasons(s3, os.environ["BUCKET"], stack, key, ClientError)
        ]
    except (BotoCoreError, ClientError, ValueError) as error:
        return refuse(f"whether other stacks still stand on it could not be found out: {error}")
    if found:
        return refuse("other stacks still stand on it:", *found)
    return 0


def reasons(s3: Any, bucket: str, stack: str, key: str, missing: type[Exception]) -> list[str]:
    """What of the stack is in the way, each with its way out."""
    found = []
    body = read(s3, bucket, key, missing)
    state = json.loads(body) if body else {}
    count = sum(len(each["instances"]) for each in state.get("resources", []) if each["mode"] == "managed")
    if count:
        found.append(f"{stack}: its state holds {count} resource{'' if count == 1 else 's'}: cdktf destroy {stack}")
    if read(s3, bucket, f"{key}.tflock", missing) is not None:
        found.append(f"{stack}: its state is locked: let that run end; if it is gone: ops unlock {stack}")
    return found


def read(s3: Any, bucket: str, key: str, missing: type[Exception]) -> bytes | None:
    """The object, or None where there is none."""
    try:
        body: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except missing as error:
        if error.response["Error"]["Code"] == "NoSuchKey":  # type: ignore[attr-defined]
            return None
        raise
    return body


def refuse(*lines: str) -> int:
    """Says why, for Terraform to repeat."""
    stack = os.environ["STACK"]
    # Terraform has by now taken the outputs out of the state, before anything else.
    way_back = (
        f"Terraform has only forgotten its outputs, which the others read: cdktf deploy {stack} brings them back."
    )
    print(f"{stack} stays, and nothing of it was destroyed:", *lines, way_back, sep="\n  ", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
