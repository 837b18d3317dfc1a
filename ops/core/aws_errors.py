"""What keeps a person from AWS without being an error of botocore's: their own configuration, and who answers for AWS.

botocore lets these through as errors of Python's, or reads a web page as an empty answer. Here they become one error,
of botocore's family, so that whoever is ready for a call that fails is ready for them too.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from ops.core.profiles import login_bridge

_WEB_PAGE: Final = re.compile(
    # Atomic, so that no page of comments takes for ever.
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?>(?:(?><!--.*?-->)\s*)*)<(?:!doctype\s+)?html\b",
    re.I | re.S,
)
# What botocore lets through; the last two where a value in the configuration is of a kind that it did not think of.
_UNUSABLE: Final = (OSError, ValueError, AttributeError, TypeError)
# Headers of every answer of AWS's. S3: "response headers returned by all operations",
# https://docs.aws.amazon.com/AmazonS3/latest/API/RESTCommonResponseHeaders.html. The others, as the SDKs read them:
# https://github.com/aws/aws-sdk-js-v3/pull/4015. The embedded AWS answers with the second for S3, too.
_REQUEST_IDS: Final = ("x-amz-request-id", "x-amzn-requestid", "x-amzn-request-id", "x-amz-id-2")
# Of a RuntimeError: botocore/credentials.py, RefreshableCredentials.
_EXPIRED: Final = "the refreshed credentials are still expired"
ANOTHER_ANSWERS: Final = (
    "a proxy, or a network that wants a log-in, may answer in its place: open a page in a browser, "
    "check HTTPS_PROXY and AWS_ENDPOINT_URL, then try again"
)
_CONFIGURATION: Final = "~/.aws/config, ~/.aws/credentials and the AWS_ variables"


class UnusableAwsError(BotoCoreError):
    """AWS cannot be used from here: `what` is wrong, and the `way_out`."""

    fmt = "{what}: {way_out}"

    @property
    def what(self) -> str:
        """What is wrong."""
        return str(self.kwargs["what"])

    @property
    def way_out(self) -> str:
        """What to do."""
        return str(self.kwargs["way_out"])


class NotAwsError(UnusableAwsError):
    """Something answered, and it is not AWS."""

    def __init__(self, *, asked: str, came: str) -> None:
        super().__init__(
            what=f"{asked} was answered with {came}, so not by AWS",
            way_out=ANOTHER_ANSWERS,
        )


def is_web_page(body: bytes) -> bool:
    """Whether this is HTML, which nothing here ever asks for."""
    return _WEB_PAGE.match(body) is not None


@contextmanager
def translated() -> Iterator[None]:
    """Raises as UnusableAwsError what making a client lets through."""
    try:
        yield
    except _UNUSABLE as error:
        raise _unusable(error) from error


def watch(client: Any) -> None:
    """Makes every call of the client raise what is not AWS's answer as UnusableAwsError."""
    client.meta.events.register("before-parse", _refuse_web_page)
    if client.meta.service_model.metadata["protocol"] in ("json", "rest-json"):
        client.meta.events.register("before-parse", _refuse_what_is_not_json)
    client.meta.events.register("after-call", _refuse_unsigned_error)
    client.meta.events.register("after-call-error", _translate)


def _refuse_web_page(event_name: str, response_dict: Mapping[str, Any], **_: Any) -> None:
    body = response_dict["body"]
    # 500 and above: AWS's own load balancers answer with HTML too, and botocore makes a ClientError of it. What is no
    # bytes is a stream, which is read by whoever asked for it.
    if response_dict["status_code"] < 500 and isinstance(body, bytes) and is_web_page(body):
        raise NotAwsError(asked=_call(event_name), came="a web page")


def _refuse_what_is_not_json(event_name: str, response_dict: Mapping[str, Any], **_: Any) -> None:
    """botocore reads it as an empty answer: as if there were none of what was asked for."""
    body = response_dict["body"]
    if response_dict["status_code"] < 300 and isinstance(body, bytes) and body:
        try:
            json.loads(body)
        except ValueError:
            raise NotAwsError(asked=_call(event_name), came="what cannot be read") from None


def _refuse_unsigned_error(event_name: str, parsed: Mapping[str, Any], **_: Any) -> None:
    """What has neither an error code nor a request id, botocore takes for AWS's error with the HTTP status as its code:
    a proxy's 404 would mean that there is no such object.
    """
    answer = parsed["ResponseMetadata"]
    status, headers = answer["HTTPStatusCode"], answer.get("HTTPHeaders", {})
    code = parsed.get("Error", {}).get("Code") or str(status)
    if 300 <= status < 500 and code == str(status) and not any(name in headers for name in _REQUEST_IDS):
        raise NotAwsError(asked=_call(event_name), came=f"{status}, with neither AWS's request id nor an error code")


def _translate(event_name: str, exception: Exception, **_: Any) -> None:
    # botocore's parsers look things up in what came.
    if isinstance(exception, ResponseParserError | LookupError):
        raise NotAwsError(asked=_call(event_name), came="what cannot be read") from exception
    if isinstance(exception, _UNUSABLE) or _EXPIRED in str(exception):
        raise _unusable(exception) from exception


def _call(event_name: str) -> str:
    return event_name.rpartition(".")[2]


def _unusable(error: Exception) -> UnusableAwsError:
    if _EXPIRED in str(error):
        return UnusableAwsError(
            what="the credentials in the AWS_ variables have expired (AWS_CREDENTIAL_EXPIRATION)",
            way_out="log in again, and set them anew: "
            'eval "$(aws configure export-credentials --profile NAME --format env)"',
        )
    if isinstance(error, OSError) and error.filename is not None:
        return UnusableAwsError(
            what=f"{error.filename}, which your AWS configuration names, cannot be used ({error.strerror})",
            way_out=f"correct credential_process, web_identity_token_file or what else names it in {_CONFIGURATION}; "
            "aws sts get-caller-identity tells when it is right",
        )
    # botocore has no class for it: EndpointCreator.create_endpoint.
    if str(error).startswith("Invalid endpoint"):
        return UnusableAwsError(
            what=str(error),
            way_out="write AWS_ENDPOINT_URL (endpoint_url in ~/.aws/config) as http://HOST:PORT, or unset it",
        )
    return UnusableAwsError(
        what=f"your AWS configuration cannot be used ({error})",
        way_out=f"check {_CONFIGURATION}, and what a credential_process prints; aws sts get-caller-identity tells when "
        "it is right",
    )


def explained(error: BotoCoreError | ClientError) -> str:
    """An AWS failure in one line, and what to do about it."""
    if isinstance(error, ClientError):
        code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
        if code in ("ExpiredToken", "ExpiredTokenException", "RequestExpired"):
            return f"AWS: the credentials have expired ({code}): log in again (aws sso login, or new keys)"
        if code in ("InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure", "SignatureDoesNotMatch"):
            return f"AWS does not accept the credentials ({code}): aws sts get-caller-identity shows which are used"
        return f"AWS refused {error.operation_name} ({code}): {message}"
    name = type(error).__name__
    if name in ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "TokenRetrievalError"):
        what = str(error).rstrip(".")
        return f"AWS: {what}. Set credentials as for the AWS CLI, or use make local-shell for the embedded AWS"
    if name == "MissingDependencyException":
        # botocore reads a profile of `aws login` only with its C library, and Terraform not at all.
        profile = os.environ.get("AWS_PROFILE") or "default"
        return f"AWS: profile {profile} is one of aws login, which only the AWS CLI reads: {login_bridge(profile)}"
    return f"AWS cannot be reached or used: {error}"
