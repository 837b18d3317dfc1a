"""The volumes: what a deploy would change of them, which EC2 refuses at times, and what new ones start from.

hashicorp/aws 5.100.0 sends ModifyVolume when anything but tags changes, `final_snapshot` too, which is no property of
the volume (internal/service/ec2/ebs_volume.go, resourceEBSVolumeUpdate). EC2 takes it only when the modification before
is completed, and four times in 24 hours: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyVolume.html
A deploy that EC2 refuses so has written the new `final_snapshot` into the state all the same (tried, 2026-11), as the
provider writes down what was planned: the next deploy has nothing left to do.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from constructs_lib.gp3 import Gp3Volume
from ops.deployment.stacks import read_stack
from ops.doctor.report import Check, Finding, Patient, ok, problem

_OVER: Final = ("completed", "failed")


@dataclass(frozen=True)
class _Volume:
    """A volume of a stack. name: its tag. settings, wanted: section and keys; restore None for a machine's root."""

    stack: str
    what: str
    address: tuple[str, str]
    section: str
    wanted: Mapping[str, object]
    name: str = ""
    restore: str | None = None

    @property
    def subject(self) -> str:
        return f"{self.stack}: {self.what}"


def _speed(volume: Gp3Volume) -> dict[str, object]:
    return {"size_gb": volume.size_gb, "iops": volume.iops, "throughput_mbps": volume.throughput_mbps}


def _every(patient: Patient) -> Iterator[_Volume]:
    """Yield the volumes of these stacks. Names and addresses as in modules_equiv/*/stack.py."""
    worker, metrics, name = patient.settings.train_model, patient.settings.stats_monitor, patient.session.name
    data = worker.data_volume
    every = (
        _Volume(
            "train-model", "data volume", ("aws_ebs_volume", "msls"), "train_model.data_volume",
            {**_speed(data), "snapshot_on_destroy": data.snapshot_on_destroy}, f"{name} MSLS Volume", data.restore,
        ),
        _Volume(
            "stats-monitor", "Grafana's volume", ("aws_ebs_volume", "grafana"), "stats_monitor",
            {"snapshot_on_destroy": metrics.snapshot_on_destroy}, f"{name} Grafana Volume", "latest",
        ),
        _Volume(
            "train-model", "root volume", ("aws_instance", "worker"), "train_model.root_volume",
            _speed(worker.root_volume),
        ),
        _Volume(
            "stats-monitor", "root volume", ("aws_instance", "metrics"), "stats_monitor.root_volume",
            _speed(metrics.root_volume),
        ),
    )  # fmt: skip
    yield from (volume for volume in every if volume.stack in patient.stacks)


def volumes(patient: Patient) -> Iterator[Finding]:
    """Check each volume that a deploy would change or create."""
    for volume in _every(patient):
        state = read_stack(patient.session, volume.stack)
        attributes = state.attributes(*volume.address) if state else None
        if attributes is not None:
            there = _deployed(attributes)
            if there is not None:
                yield _change(patient, volume, *there)
        elif volume.restore is not None:
            yield from _start(patient, volume, volume.restore)


def _deployed(attributes: Mapping[str, Any]) -> tuple[str, dict[str, object]] | None:
    """Return the volume's id and its properties by settings key; None when the state lacks them."""
    roots = attributes.get("root_block_device")
    found = roots[0] if roots else attributes
    id = found.get("volume_id") or found.get("id")
    if id is None:
        return None
    names = {"size_gb": "size", "iops": "iops", "throughput_mbps": "throughput"}
    if roots:
        names["size_gb"] = "volume_size"
    else:
        names["snapshot_on_destroy"] = "final_snapshot"
    return str(id), {key: found[name] for key, name in names.items() if found.get(name) is not None}


def _change(patient: Patient, volume: _Volume, id: str, there: Mapping[str, object]) -> Finding:
    """Check what the deploy would change, and whether EC2 accepts it now."""
    new = {key: value for key, value in volume.wanted.items() if key in there and there[key] != value}
    size, old = new.get("size_gb"), there.get("size_gb")
    if isinstance(size, int) and isinstance(old, int) and size < old:
        return problem(
            volume.subject,
            f"{volume.section}.size_gb is {size}, but {id} has {old} GiB: EC2 cannot shrink a volume",
            f"set {volume.section}.size_gb = {old}",
        )
    if not new:
        return ok(volume.subject, f"{id} matches the settings")
    changes = ", ".join(f"{volume.section}.{key} = {str(value).lower()}" for key, value in new.items())
    answer = patient.session.client("ec2").describe_volumes_modifications(
        Filters=[{"Name": "volume-id", "Values": [id]}]
    )
    for modification in answer["VolumesModifications"]:
        state = modification["ModificationState"]
        if state not in _OVER:
            return problem(
                volume.subject,
                f"a deploy would change {id} ({changes}), but EC2 refuses that until the previous change, started "
                f"{modification['StartTime']:%Y-%m-%d %H:%M} UTC, has completed ({state}, "
                f"{modification.get('Progress', 0)} %)",
                f"wait until it has: aws ec2 describe-volumes-modifications --region {patient.region} "
                f"--volume-ids {id}",
            )
    return ok(volume.subject, f"a deploy changes {id}: {changes}. EC2 allows four changes of a volume in 24 hours")


def _start(patient: Patient, volume: _Volume, restore: str) -> Iterator[Finding]:
    """Check what a new volume would contain, and whether it fits."""
    if restore == "none":
        return
    ec2 = patient.session.client("ec2")
    if restore == "latest":
        tags = {"Name": volume.name, "deployment": patient.session.name}
        filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]
        found = patient.everything("ec2", "describe_snapshots", "Snapshots", OwnerIds=["self"], Filters=filters)
        if not found:
            return
    else:
        try:
            found = ec2.describe_snapshots(SnapshotIds=[restore])["Snapshots"]
        except ClientError as error:
            if not error.response["Error"]["Code"].startswith("InvalidSnapshot"):
                raise
            yield problem(
                volume.subject,
                f"no snapshot {restore} ({volume.section}.restore) is available to you in {patient.region}",
                f'set {volume.section}.restore = "latest", "none" or a snapshot in {patient.region}',
            )
            return
    yield _fits(volume, max(found, key=lambda each: each["StartTime"]))


def _fits(volume: _Volume, snapshot: Mapping[str, Any]) -> Finding:
    id, gib, size = snapshot["SnapshotId"], snapshot["VolumeSize"], volume.wanted.get("size_gb")
    label = f"{id} of {snapshot['StartTime']:%Y-%m-%d %H:%M} UTC"
    if isinstance(size, int) and gib > size:
        return problem(
            volume.subject,
            f"a new volume starts from {label}, which has {gib} GiB, but {volume.section}.size_gb is {size}: EC2 "
            "refuses a volume smaller than its snapshot",
            f'set {volume.section}.size_gb = {gib}, or {volume.section}.restore = "none" for an empty one',
        )
    if snapshot["State"] != "completed":
        return problem(
            volume.subject,
            f"a new volume starts from {label}, which is {snapshot['State']} ({snapshot.get('Progress') or '0%'})",
            "deploy when it has completed",
        )
    return ok(volume.subject, f"a new volume starts from {label}")


CHECKS = (Check("volumes", volumes),)
