"""What Terraform's state in S3 says of the stacks."""

import io
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from ops.core.aws_errors import NotAwsError, is_web_page
from ops.core.errors import OpsError
from ops.core.session import Session
from ops.core.stack_names import state_key


class StackState(NamedTuple):
    """A stack's state as it was last written. resources: how many Terraform manages; 0 after a destroy."""

    name: str
    serial: int
    modified: datetime
    resources: int
    document: dict[str, Any]

    def attributes(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return Terraform's attributes of `<kind>.<name>`; None when it manages none."""
        for resource in self.document.get("resources", []):
            if (resource["mode"], resource["type"], resource["name"]) == ("managed", kind, name):
                for instance in resource["instances"]:
                    found: dict[str, Any] = instance["attributes"]
                    return found
        return None


def read_stack(session: Session, stack: str, s3: Any = None) -> StackState | None:
    """Return the stack's state; None if it was never deployed. Raises OpsError, BotoCoreError, ClientError."""
    answer = read_object(session, state_key(session.settings, stack), s3)
    if answer is None:
        return None
    body = answer["Body"].read()
    try:
        document = json.loads(body)
        managed = [r for r in document.get("resources", []) if r["mode"] == "managed"]
        count = sum(len(resource["instances"]) for resource in managed)
        return StackState(stack, int(document["serial"]), answer["LastModified"], count, document)
    except (ValueError, KeyError, TypeError, AttributeError):
        place = f"s3://{session.settings.state.bucket}/{state_key(session.settings, stack)}"
        raise OpsError(f"{place} is not a Terraform state", fix="restore an older version of the object") from None


def outputs(session: Session, stack: str) -> dict[str, Any]:
    """Return the outputs of a deployed stack, by name. Raises OpsError when it is not deployed."""
    state = read_stack(session, stack)
    if state is None or not state.resources:
        raise OpsError(f"{stack} is not deployed", fix=f"cdktf deploy {stack}")
    return {name: output["value"] for name, output in state.document.get("outputs", {}).items()}


def without_foundation(states: Mapping[str, StackState | None]) -> list[str]:
    """Return the deployed stacks whose foundation, mlcore, is destroyed, wholly or in part."""
    core = states.get("mlcore")
    # Terraform takes a stack's outputs away when it begins to destroy it.
    if core and core.resources and core.document.get("outputs"):
        return []
    return [name for name, state in states.items() if name != "mlcore" and state and state.resources]


def foundation_lost(states: Mapping[str, StackState | None]) -> tuple[str, str] | None:
    """Return the problem and the fix when mlcore is gone while other stacks depend on it; else None."""
    above = without_foundation(states)
    if not above:
        return None
    names, core = " ".join(above), states.get("mlcore")
    one = len(above) == 1
    depend = f"{', '.join(above)} still depend{'s' if one else ''} on it and cost{'s' if one else ''} money"
    able = f"{'it' if one else 'they'} can be destroyed, but not deployed or changed"
    if core and core.resources:
        return (
            f"mlcore has no outputs: destroying it was refused or interrupted, while {depend}; {able}",
            f"cdktf deploy mlcore repairs it; to destroy everything, first: cdktf destroy {names}",
        )
    return f"mlcore is destroyed, while {depend}; {able}", f"cdktf destroy {names}, then deploy what you need again"


def state_client(session: Session) -> Any:
    """Return the S3 client for the state bucket, which may be in a region of its own. Several threads may share it."""
    return session.client("s3", session.settings.state.region)


def read_object(session: Session, key: str, s3: Any = None) -> dict[str, Any] | None:
    """Return GetObject's answer from the state bucket; None when there is no such object.

    Raises OpsError without a bucket, and NotAwsError for a web page, which must not be taken for a damaged object.

    s3: a `state_client`, for those who read more than one.
    """
    place = session.settings.state
    try:
        answer: dict[str, Any] = (s3 or state_client(session)).get_object(Bucket=place.bucket, Key=key)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        # Never by the status alone: S3 names it in the answer's body, and what stands between may say 404 on its own.
        # https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html, NoSuchKey
        if code == "NoSuchKey":
            return None
        if code == "NoSuchBucket":
            raise OpsError(f"the state bucket {place.bucket} does not exist", fix="ops bootstrap creates it") from None
        raise
    body = answer["Body"].read()
    if is_web_page(body):
        raise NotAwsError(asked=f"GetObject of s3://{place.bucket}/{key}", came="a web page")
    return {**answer, "Body": io.BytesIO(body)}
