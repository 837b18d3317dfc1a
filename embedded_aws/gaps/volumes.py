"""Elastic Block Store: what EC2 refuses of a volume's size and of its changes, and moto does not."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from moto.core.utils import utcnow
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.elastic_block_store import EBSBackend, Volume, VolumeModification
from moto.ec2.responses.elastic_block_store import ElasticBlockStore

from embedded_aws.gaps.patching import replace, wrap

# "After you initiate a volume modification, you must wait for that modification to reach the completed state", and "up
# to four times within a rolling 24-hour period": https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyVolume.html
_MODIFICATIONS: Final = 4
_PERIOD: Final = timedelta(hours=24)
# "From a few minutes to a few hours": https://docs.aws.amazon.com/ebs/latest/userguide/monitoring-volume-modifications.html
_OPTIMIZING: Final = timedelta(hours=1)

_open: list[VolumeModification] = []


def complete_modifications() -> int:
    """Bring every modification that is optimizing to its end, as time does. Returns how many there were."""
    count = sum(modification_state(each) == "optimizing" for each in _open)
    for each in _open:
        each.done = True  # type: ignore[attr-defined]
    _open.clear()
    return count


def _is_done(self: VolumeModification) -> bool:
    return getattr(self, "done", False) or utcnow() >= self.start_time + _OPTIMIZING


def modification_state(self: VolumeModification) -> str:
    """Answer DescribeVolumesModifications modificationState: the new size is there at once, the new speed later."""
    return "completed" if _is_done(self) else "optimizing"


def _progress(self: VolumeModification) -> int:
    return 100 if _is_done(self) else int(100 * ((utcnow() - self.start_time) / _OPTIMIZING))


def end_time(self: VolumeModification) -> datetime | None:
    """Answer DescribeVolumesModifications endTime: none before the end."""
    return vars(self).get("ended") if _is_done(self) else None


def _set_end_time(self: VolumeModification, time: datetime) -> None:
    vars(self)["ended"] = time


def modify_volume(original: Callable[..., Volume], self: EBSBackend, volume_id: str, *args: Any, **kw: Any) -> Volume:
    """Answer ModifyVolume: not while another modification is not completed, not five times in a day, never smaller."""
    volume = self.get_volume(volume_id)
    for each in volume.modifications:
        if modification_state(each) != "completed":
            raise EC2ClientError(
                "IncorrectModificationState",
                f"Volume {volume_id} cannot be modified in modification state {modification_state(each).upper()}",
            )
    if sum(utcnow() - each.start_time < _PERIOD for each in volume.modifications) >= _MODIFICATIONS:
        raise EC2ClientError(
            "VolumeModificationRateExceeded", "You've reached the maximum modification rate per volume limit."
        )
    size = kw.get("target_size", args[0] if args else None)
    if size and int(size) < volume.size:
        raise EC2ClientError("InvalidParameterValue", "New size cannot be smaller than existing size")
    result = original(self, volume_id, *args, **kw)
    _open.append(volume.modifications[-1])
    return result


def describe_modifications(
    original: Callable[..., list[VolumeModification]], self: EBSBackend, *args: Any, **kw: Any
) -> list[VolumeModification]:
    """Answer DescribeVolumesModifications: the most recent modification of each volume; moto shows all there were.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeVolumesModifications.html
    """
    latest = {each.volume.id: each for each in original(self, *args, **kw)}
    return list(latest.values())


def create_volume(original: Callable[..., Any], self: ElasticBlockStore) -> Any:
    """Answer CreateVolume: not smaller than its snapshot.

    "The specified size must be equal to or greater than the snapshot size":
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVolume.html
    """
    size, snapshot_id = self._get_param("Size"), self._get_param("SnapshotId")
    if size and snapshot_id:
        refuse_smaller(int(size), self.ec2_backend.get_snapshot(snapshot_id), "InvalidParameterValue")
    return original(self)


def refuse_smaller(size: int, snapshot: Any, code: str) -> None:
    """Refuse a volume of `size` GiB for a larger snapshot, with EC2's error."""
    if size < snapshot.volume_size:
        raise EC2ClientError(
            code,
            f"Volume of size {size}GB is smaller than snapshot '{snapshot.id}', "
            f"expect size >= {snapshot.volume_size}GB",
        )


def install() -> None:
    """Put the closures of this module into moto."""
    replace(VolumeModification, "modification_state", property(modification_state))
    replace(VolumeModification, "progress", property(_progress))
    VolumeModification.end_time = property(end_time, _set_end_time)  # type: ignore[assignment]
    wrap(EBSBackend, "modify_volume", modify_volume)
    wrap(EBSBackend, "describe_volumes_modifications", describe_modifications)
    wrap(ElasticBlockStore, "create_volume", create_volume)
