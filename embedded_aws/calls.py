"""Which calls came in, and from which stack: what a deploy really needs permission for."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from moto.core.routing import get_service_router
from moto.moto_server.werkzeug_app import BackendRequest

from embedded_aws.retries import ACTION

# Terraform's backend and the AWS provider append TF_APPEND_USER_AGENT to their User-Agent, and SDKs "app/" and
# AWS_SDK_UA_APP_ID. To know the calls of one stack, set these to stack/NAME and NAME:
# https://registry.terraform.io/providers/hashicorp/aws/5.100.0/docs#custom-user-agent-information
# https://docs.aws.amazon.com/sdkref/latest/guide/feature-appid.html
_STACK: Final = re.compile(r"(?:^|\s)(?:stack|app)/(\S+)")
_SIGNED_FOR: Final = re.compile(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/")
# Names of botocore that do not follow from the one that a request is signed for.
_BOTOCORE_NAMES: Final = {"elasticfilesystem": "efs"}


class Call(NamedTuple):
    """One kind of call. service: as IAM writes it, which is what a request is signed for. object: S3's, else empty."""

    stack: str
    service: str
    operation: str
    object: str


class Calls:
    """Counts the calls by kind."""

    def __init__(self) -> None:
        self._counts: Counter[Call] = Counter()

    def add(self, environ: Mapping[str, Any]) -> None:
        """Count a request, if it is signed and so a call of AWS."""
        signed_for = _SIGNED_FOR.search(environ.get("HTTP_AUTHORIZATION", ""))
        if signed_for:
            stack = _STACK.search(environ.get("HTTP_USER_AGENT", ""))
            operation, of = _operation(signed_for[1], environ)
            self._counts[Call(stack[1] if stack else "", signed_for[1], operation, of)] += 1

    def listed(self) -> list[dict[str, Any]]:
        """Return the kinds of calls with their counts, for JSON."""
        return [{**call._asdict(), "count": count} for call, count in sorted(self._counts.items())]


def _operation(service: str, environ: Mapping[str, Any]) -> tuple[str, str]:
    """Return the operation, and for S3 the bucket/key."""
    named: str = environ.get(ACTION) or environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
    if named:
        return named, ""
    try:
        router: Any = get_service_router(_BOTOCORE_NAMES.get(service, service))
        operation, parameters = router.match(BackendRequest(dict(environ)))
    except Exception:  # no operation of this service has such a path
        return f"{environ['REQUEST_METHOD']} {environ.get('PATH_INFO', '')}", ""
    if service != "s3":
        return operation.name, ""
    return operation.name, "/".join(filter(None, [parameters.get("Bucket"), parameters.get("Key")]))
