"""Systems Manager."""

from collections.abc import Callable
from typing import Any

from moto.core.utils import utcnow
from moto.ssm.models import Parameter, ParameterDict, SimpleSystemManagerBackend

from ops.embedded_aws.gaps.patching import wrap
from ops.embedded_aws.images import IMAGES

_PUBLIC = "/aws/service"


def load_public_parameters(original: Callable[..., None], self: ParameterDict, key: str) -> None:
    """GetParameter, GetParameters, GetParametersByPath: the public parameters under /aws/service that name images.

    AWS has them in every region, readable and not writable by an account; DataType is aws:ec2:image.
    """
    original(self, key)
    if not str(key or "").startswith(_PUBLIC):
        return
    for image in IMAGES:
        if not dict.__contains__(self, image.parameter):
            parameter = Parameter(  # type: ignore[abstract]
                account_id=self.account_id,
                name=image.parameter,
                value=image.image_id(self.region_name),
                parameter_type="String",
                description=None,
                allowed_pattern=None,
                keyid=None,
                last_modified_date=utcnow(),
                version=1,
                data_type="aws:ec2:image",
                tier="Standard",
            )
            dict.__setitem__(self, image.parameter, [parameter])


def describe_parameters(original: Callable[..., list[Parameter]], self: Any, *args: Any, **kw: Any) -> list[Parameter]:
    """DescribeParameters: the account's own parameters, without the public ones."""
    return [parameter for parameter in original(self, *args, **kw) if not parameter.name.startswith(_PUBLIC)]


def install() -> None:
    """Puts the closures of this module into moto."""
    wrap(ParameterDict, "_check_loading_status", load_public_parameters)
    wrap(SimpleSystemManagerBackend, "describe_parameters", describe_parameters)
