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
NOT_AWS_FIX: Final = (
    "a proxy or a captive portal may be answering instead: open a page in a browser, check HTTPS_PROXY and "
    "AWS_ENDPOINT_URL, then try again"
)
_CONFIGURATION: Final = "~/.aws/config, ~/.aws/credentials and the AWS_ variables"


class UnusableAwsError(BotoCoreError):
    """AWS cannot be used from here. Has a `problem` and a `fix`, as `FixableError` does."""

    fmt = "{problem}: {fix}"

    @property
    def problem(self) -> str:
        """What is wrong."""
        return str(self.kwargs["problem"])

    @property
    def fix(self) -> str:
        """What to do about it."""
        return str(self.kwargs["fix"])


class NotAwsError(UnusableAwsError):
    """Something answered, and it is not AWS."""

    def __init__(self, *, asked: str, came: str) -> None:
        super().__init__(
            problem=f"the answer to {asked} was {came}, so it did not come from AWS",
            fix=NOT_AWS_FIX,
        )


def is_web_page(body: bytes) -> bool:
    """Return whether this is HTML, which no call here ever expects."""
    return _WEB_PAGE.match(body) is not None


@contextmanager
def translated() -> Iterator[None]:
    """Turn the errors of creating a client into UnusableAwsError."""
    try:
        yield
    except _UNUSABLE as error:
        raise _unusable(error) from error


def watch(client: Any) -> None:
    """Make every call of the client raise UnusableAwsError for an answer that is not from AWS."""
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
    """Refuse a body that is not JSON, which botocore would read as an empty answer."""
    body = response_dict["body"]
    if response_dict["status_code"] < 300 and isinstance(body, bytes) and body:
        try:
            json.loads(body)
        except ValueError:
            raise NotAwsError(asked=_call(event_name), came="unreadable") from None


def _refuse_unsigned_error(event_name: str, parsed: Mapping[str, Any], **_: Any) -> None:
    """Refuse an error without error code and request id: a proxy's 404 would mean that there is no such object.

    botocore takes it for an error from AWS with the HTTP status as its code.
    """
    answer = parsed["ResponseMetadata"]
    status, headers = answer["HTTPStatusCode"], answer.get("HTTPHeaders", {})
    code = parsed.get("Error", {}).get("Code") or str(status)
    if 300 <= status < 500 and code == str(status) and not any(name in headers for name in _REQUEST_IDS):
        raise NotAwsError(asked=_call(event_name), came=f"{status} without an AWS request id or error code")


def _translate(event_name: str, exception: Exception, **_: Any) -> None:
    # botocore's parsers look things up in what came.
    if isinstance(exception, ResponseParserError | LookupError):
        raise NotAwsError(asked=_call(event_name), came="unreadable") from exception
    if isinstance(exception, _UNUSABLE) or _EXPIRED in str(exception):
        raise _unusable(exception) from exception


def _call(event_name: str) -> str:
    return event_name.rpartition(".")[2]


def _unusable(error: Exception) -> UnusableAwsError:
    if _EXPIRED in str(error):
        return UnusableAwsError(
            problem="the credentials in the AWS_ variables have expired (AWS_CREDENTIAL_EXPIRATION)",
            fix='log in again, then set them: eval "$(aws configure export-credentials --profile NAME --format env)"',
        )
    if isinstance(error, OSError) and error.filename is not None:
        return UnusableAwsError(
            problem=f"{error.filename}, named in your AWS configuration, cannot be used ({error.strerror})",
            fix=f"correct credential_process, web_identity_token_file or whichever key names it in {_CONFIGURATION}; "
            "check with: aws sts get-caller-identity",
        )
    # botocore has no class for it: EndpointCreator.create_endpoint.
    if str(error).startswith("Invalid endpoint"):
        return UnusableAwsError(
            problem=str(error),
            fix="set AWS_ENDPOINT_URL (endpoint_url in ~/.aws/config) to http://HOST:PORT, or unset it",
        )
    return UnusableAwsError(
        problem=f"your AWS configuration cannot be used ({error})",
        fix=f"check {_CONFIGURATION}, and the output of any credential_process; check again with: "
        "aws sts get-caller-identity",
    )


def explained(error: BotoCoreError | ClientError) -> str:
    """Return an AWS failure and its fix in one line."""
    problem, fix = problem_and_fix(error)
    return f"{problem}: {fix}" if fix else problem


def problem_and_fix(error: BotoCoreError | ClientError) -> tuple[str, str]:
    """Return what failed and what to do about it; the fix is "" where only AWS's message can tell."""
    if isinstance(error, ClientError):
        code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
        if code in ("ExpiredToken", "ExpiredTokenException", "RequestExpired"):
            return f"AWS: the credentials have expired ({code})", "log in again (aws sso login, or new keys)"
        if code in ("InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure", "SignatureDoesNotMatch"):
            return (
                f"AWS does not accept the credentials ({code})",
                "log in again or set valid ones; aws sts get-caller-identity shows which are in use",
            )
        return f"AWS refused {error.operation_name} ({code}): {message}", ""
    if isinstance(error, UnusableAwsError):
        return f"AWS cannot be used: {error.problem}", error.fix
    name = type(error).__name__
    if name in ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "TokenRetrievalError"):
        return (
            f"AWS: {str(error).rstrip('.')}",
            "set credentials as for the AWS CLI, or use make local-shell for the embedded AWS",
        )
    if name == "MissingDependencyException":
        # botocore reads a profile of `aws login` only with its C library, and Terraform not at all.
        profile = os.environ.get("AWS_PROFILE") or "default"
        return f"AWS: profile {profile} uses aws login, which only the AWS CLI can read", login_bridge(profile)
    return f"AWS cannot be reached: {error}", ""
