"""Terraform's state: the bucket and its set-up, locks that are held, mlcore below the other stacks, kept volumes."""

import json
from collections.abc import Iterator, Sequence

from botocore.exceptions import ClientError

from ops.account.state_bucket import StateBucket
from ops.core.errors import OpsError
from ops.core.session import Session
from ops.core.stack_names import STACKS
from ops.deployment import push_state
from ops.deployment.lock_holder import holder
from ops.deployment.locks import lock_key, read_lock
from ops.deployment.stacks import foundation_lost, read_object, read_stack
from ops.deployment.view import GONE
from ops.doctor.report import Check, Finding, Patient, is_denied, ok, problem, unknown, why_unknown


def bucket(patient: Patient) -> Iterator[Finding]:
    """Check that the bucket exists, is ours, and is configured as by `ops bootstrap`."""
    state = StateBucket(patient.session)
    try:
        there = state.exists()
    except OpsError as error:
        yield problem("state bucket", error.problem, error.fix or "ops bootstrap")
        return
    if not there:
        yield problem("state bucket", f"{state.name} does not exist", "ops bootstrap")
        return
    wrong, denied = [], []
    for part in state.parts():
        try:
            if part.difference() is not None:
                wrong.append(part.name)
        except ClientError as error:
            denied.append(f"{part.name} ({why_unknown(error)})")
    if wrong:
        yield problem("state bucket", f"{state.name}: needs configuration: {', '.join(wrong)}", "ops bootstrap")
    elif not denied:
        yield ok("state bucket", f"{state.name} in {state.region}")
    if denied:
        yield unknown("state bucket", f"{state.name}: could not check {', '.join(denied)}")


def locks(patient: Patient) -> Iterator[Finding]:
    """Check that no run holds the state of these stacks: a deploy would wait and fail."""
    held = False
    for stack in patient.stacks:
        key = lock_key(patient.session, stack)
        try:
            answer = read_object(patient.session, key)
        except OpsError:
            yield unknown("state locks", f"the state bucket {patient.settings.state.bucket} does not exist")
            return
        except ClientError as error:
            # Without s3:ListBucket a missing object answers like a forbidden one.
            if is_denied(error):
                yield unknown("state locks", f"{stack}: these credentials may not read {key}")
                held = True
                continue
            raise
        if answer is None:
            continue
        held = True
        by = f"{stack} is locked by {_holder(answer['Body'].read())}"
        yield problem("state locks", by, _way_out(patient, stack))
    if not held:
        yield ok("state locks", "none held")


def _holder(body: bytes) -> str:
    try:
        lock = json.loads(body)
        return f"{lock['Who']} since {lock['Created']} ({lock['Operation']})"
    except (ValueError, KeyError, TypeError):
        return "an unknown run (the lock is unreadable)"


def _way_out(patient: Patient, stack: str) -> str:
    if stack in push_state.find(patient.session):
        return f"ops push-state {stack}"
    try:
        lock = read_lock(patient.session, stack)
    except OpsError as error:
        return str(error)
    if lock and holder(patient.session, lock).is_ == "gone":
        return f"{GONE}: ops unlock {stack}"
    return f"wait for that run to end, or, if it is gone: ops unlock {stack}"


def errored(session: Session, stacks: Sequence[str]) -> Iterator[Finding]:
    """Check that no state is only on this machine. Does not call AWS."""
    found = {name: state for name, state in push_state.find(session).items() if name in stacks}
    for name, state in found.items():
        yield problem("states on this machine", f"{name}: {push_state.what(state)}", f"ops push-state {name}")
    if not found:
        yield ok("states on this machine", "everything written from this folder is in the bucket")


def foundation(patient: Patient) -> Iterator[Finding]:
    """Check that mlcore is deployed, which the other stacks need even for a plan."""
    states = {stack: read_stack(patient.session, stack) for stack in STACKS}
    if lost := foundation_lost(states):
        yield problem("mlcore", *lost)
        return
    if "mlcore" in patient.stacks:
        return
    state = states["mlcore"]
    if state is None or not state.resources:
        yield problem("mlcore", "it is not deployed, and the other stacks depend on it", "cdktf deploy mlcore")
    else:
        yield ok("mlcore", "deployed")


def snapshots(patient: Patient) -> Iterator[Finding]:
    """Report what a destroy now would do with the volumes: Terraform takes `final_snapshot` from the state."""
    settings = patient.settings
    volumes = (
        ("train-model", "msls", "/data", "train_model.data_volume", settings.train_model.data_volume),
        ("stats-monitor", "grafana", "Grafana's volume", "stats_monitor", settings.stats_monitor),
    )
    for stack, name, what, section, config in volumes:
        state = read_stack(patient.session, stack) if stack in patient.stacks else None
        volume = state.attributes("aws_ebs_volume", name) if state else None
        if volume is None:
            continue
        setting, wanted = f"{section}.snapshot_on_destroy", config.snapshot_on_destroy
        kept = bool(volume.get("final_snapshot"))
        subject = f"{stack}: snapshot"
        if wanted and not kept:
            yield problem(
                subject,
                f"a destroy now would delete {what} without a snapshot: {setting} = true applies from the next deploy",
                f"before a destroy: cdktf deploy {stack}",
            )
        elif kept and not wanted:
            yield ok(
                subject,
                f"a destroy now still keeps a snapshot of {what}: {setting} = false applies from the next deploy",
            )
        else:
            does = "keeps a snapshot" if kept else "keeps no snapshot"
            yield ok(subject, f"a destroy {does} of {what}, as {setting} says")


CHECKS = (
    Check("state bucket", bucket),
    Check("state locks", locks),
    Check("mlcore", foundation),
    Check("snapshots", snapshots),
)
