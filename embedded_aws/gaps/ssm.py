"""Systems Manager."""

from collections.abc import Callable
from inspect import signature
from typing import Any

from moto.core.utils import utcnow
from moto.ssm.exceptions import ValidationException
from moto.ssm.models import Parameter, ParameterDict, SimpleSystemManagerBackend

from embedded_aws.gaps.patching import wrap
from embedded_aws.images import IMAGES

_PUBLIC = "/aws/service"
# https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html
_STANDARD_CHARACTERS = 4096


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
    """Answer DescribeParameters: the account's own parameters, without the public ones."""
    return [parameter for parameter in original(self, *args, **kw) if not parameter.name.startswith(_PUBLIC)]


def put_parameter(original: Callable[..., Parameter], self: Any, *args: Any, **kw: Any) -> Parameter:
    """Answer PutParameter: refuses values that name other parameters, that are empty or too long for a standard one.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html (Value). Of "{{" without "}}"
    it says nothing; that is refused too.
    """
    given = signature(original).bind(self, *args, **kw).arguments
    value = str(given.get("value") or "")
    if not value:
        raise ValidationException(
            "1 validation error detected: Value '' at 'value' failed to satisfy constraint: "
            "Member must have length greater than or equal to 1."
        )
    if "{{" in value:
        raise ValidationException('Parameter value can\'t nest another parameter. Do not use "{{}}" in the value.')
    if len(value) > _STANDARD_CHARACTERS and (given.get("tier") or "Standard") == "Standard":
        raise ValidationException(
            f"Standard tier parameters support a maximum parameter value of {_STANDARD_CHARACTERS} characters. To "
            "create a larger parameter value, upgrade the parameter to use the advanced-parameter tier."
        )
    return original(self, *args, **kw)


def install() -> None:
    """Put the closures of this module into moto."""
    wrap(ParameterDict, "_check_loading_status", load_public_parameters)
    wrap(SimpleSystemManagerBackend, "describe_parameters", describe_parameters)
    wrap(SimpleSystemManagerBackend, "put_parameter", put_parameter)
