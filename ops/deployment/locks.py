"""The locks of the states: the object that Terraform's S3 backend puts beside a state while it works on it."""

import json
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from botocore.exceptions import ClientError

from ops.core import durations
from ops.core.errors import OpsError
from ops.core.session import Session
from ops.core.stack_names import state_key
from ops.deployment.stacks import read_object, state_client

# A deploy of these stacks takes minutes: a lock younger than this most likely belongs to one that is at work.
YOUNG: Final = timedelta(minutes=15)


class Lock(NamedTuple):
    """A held lock, as Terraform wrote it. version: of the S3 object, None without versions; etag: its tag."""

    stack: str
    id: str
    operation: str
    who: str
    terraform: str
    created: datetime | None
    info: str
    version: str | None
    etag: str

    def age(self, now: datetime) -> timedelta | None:
        """Return how long the lock has been held; None without a creation time."""
        return now - self.created if self.created else None


def lock_key(session: Session, stack: str) -> str:
    """Return the lock's key in the state bucket."""
    return f"{state_key(session.settings, stack)}.tflock"


def read_lock(session: Session, stack: str, s3: Any = None) -> Lock | None:
    """Return the lock held on a stack's state, or None. Raises OpsError for an unreadable one."""
    answer = read_object(session, lock_key(session, stack), s3)
    if answer is None:
        return None
    try:
        # https://github.com/hashicorp/terraform/blob/v1.11.4/internal/states/statemgr/locker.go, LockInfo
        document: dict[str, Any] = json.loads(answer["Body"].read())
        version = answer.get("VersionId")
        return Lock(
            stack,
            str(document["ID"]),
            str(document.get("Operation", "")),
            str(document.get("Who", "")),
            str(document.get("Version", "")),
            durations.read(_seconds(str(document.get("Created", "")))),
            str(document.get("Info", "")),
            None if version in (None, "null") else str(version),
            str(answer["ETag"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        place = f"s3://{session.settings.state.bucket}/{lock_key(session, stack)}"
        raise OpsError(
            f"{place} is not a readable Terraform lock", fix=f"inspect it, and delete it if no run is using {stack}"
        ) from None


def release(session: Session, lock: Lock) -> None:
    """Delete exactly this lock. Raises OpsError when another one is held by now."""
    held = read_lock(session, lock.stack)
    if held is None:
        raise OpsError(f"{lock.stack}: the lock was already released; there is nothing to do")
    if (held.id, held.version, held.etag) != (lock.id, lock.version, lock.etag):
        raise OpsError(
            f"{lock.stack}: another run took the lock in the meantime ({held.who}, {held.operation}); it was kept",
            fix=f"ops unlock {lock.stack} shows it",
        )
    # The version that was shown, or (without versions) the content: whatever is put there from now on stays.
    exactly = {"VersionId": lock.version} if lock.version else {"IfMatch": lock.etag}
    try:
        state_client(session).delete_object(
            Bucket=session.settings.state.bucket, Key=lock_key(session, lock.stack), **exactly
        )
    except ClientError as error:
        if error.response["Error"]["Code"] in ("PreconditionFailed", "ConditionalRequestConflict", "412"):
            raise OpsError(f"{lock.stack}: another run took the lock in the meantime; it was kept") from None
        raise


def _seconds(text: str) -> str:
    """Cut Go's nanoseconds to the microseconds that Python reads."""
    head, dot, fraction = text.partition(".")
    digits = fraction.rstrip("Z")
    if not dot or not digits.isdecimal():
        return text
    return f"{head}.{digits[:6]:0<6}+00:00"
