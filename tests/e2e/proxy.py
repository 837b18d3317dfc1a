"""A gateway before the embedded AWS that sees every call, and answers some in its place with an error.

Point AWS_ENDPOINT_URL at `Gateway.url`. Nothing of a call is changed on its way; an error comes in the words and the
format of the service that was asked (https://smithy.io/2.0/aws/protocols/), so that SDKs do with it what they would do
with AWS's own.
"""

import http.client
import json
import random
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit
from wsgiref.types import StartResponse, WSGIEnvironment
from xml.sax.saxutils import escape

from moto.core.request import Request
from moto.core.routing import get_service_router
from werkzeug.serving import make_server

from embedded_aws.control import HOST
from embedded_aws.server import Received, RequestHandler

# botocore's name, where the one that calls are signed with is another.
_NAMES: Final = {"elasticfilesystem": "efs", "monitoring": "cloudwatch", "tagging": "resourcegroupstaggingapi"}
_READS: Final = ("Describe", "Get", "List", "Head", "Assume", "Lookup", "Search", "Simulate", "Decode")
# They speak of one connection, and the gateway has two.
_OF_A_CONNECTION: Final = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "content-length"}
_SECONDS: Final = 120


@dataclass(frozen=True)
class Call:
    """A request to AWS. number: counted from 1 over all that came in; attempt: which try of the SDK it is, from 1."""

    number: int
    service: str
    action: str
    method: str
    path: str
    attempt: int
    protocol: str

    @property
    def changes(self) -> bool:
        """Whether it makes, changes or deletes something: of AWS, a state or a lock."""
        return not self.action.startswith(_READS)


@dataclass(frozen=True)
class Fault:
    """An error of AWS's: its code, its text, and the HTTP status that it comes with."""

    code: str
    message: str
    status: int = 400


# What happens to a call: None lets it through, HANG_UP closes the connection without an answer, before AWS has acted.
HANG_UP: Final = Fault("", "", 0)
Verdict = Callable[[Call], Fault | None]


def expired(call: Call) -> Fault:
    """What the service says when temporary credentials have ended.

    EC2: RequestExpired in https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html; S3: ExpiredToken
    in https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; the others: ExpiredToken (query), 403, and
    ExpiredTokenException (JSON) in https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html.
    """
    match call.protocol:
        case "ec2":
            return Fault("RequestExpired", "Request has expired.", 400)
        case "rest-xml":
            return Fault("ExpiredToken", "The provided token has expired.", 400)
        case "query":
            return Fault("ExpiredToken", "The security token included in the request is expired", 403)
        case _:
            return Fault("ExpiredTokenException", "The security token included in the request is expired", 400)


def expired_after(*actions: str) -> Verdict:
    """All credentials have ended from the call on that follows the last of these: each has come once by then."""
    awaited = set(actions)

    def verdict(call: Call) -> Fault | None:
        if not awaited:
            return expired(call)
        awaited.discard(call.action)
        return None

    return verdict


def throttled(call: Call) -> Fault:
    """What the service says to one who asks too often.

    EC2: RequestLimitExceeded, 503 (its errors-overview); S3: SlowDown, 503 (its ErrorResponses); query: Throttling; the
    others, EFS among them: ThrottlingException (https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html).
    """
    match call.protocol:
        case "ec2":
            return Fault("RequestLimitExceeded", "Request limit exceeded.", 503)
        case "rest-xml":
            return Fault("SlowDown", "Please reduce your request rate.", 503)
        case "query":
            return Fault("Throttling", "Rate exceeded", 400)
        case _:
            return Fault("ThrottlingException", "Rate exceeded", 400)


def broken(call: Call) -> Fault:
    """What the service says when it has trouble of its own."""
    return Fault("InternalError" if call.protocol in ("ec2", "rest-xml") else "InternalFailure", "Try again.", 500)


@dataclass
class Rule:
    """Says which calls meet a fault. Counts those that it is about.

    services, actions: empty means all. first: the first call that fails, counted from 1 among those that match.
    times: how many fail; None means all from then on. fraction: of those, how many fail, by `seed`. only_changes:
    leaves reading alone. unless: calls that are never met.
    """

    fault: Fault | Verdict
    services: Iterable[str] = ()
    actions: Iterable[str] = ()
    first: int = 1
    times: int | None = None
    fraction: float = 1.0
    seed: int = 0
    only_changes: bool = False
    unless: Callable[[Call], bool] = field(default=lambda call: False)
    seen: int = 0
    met: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def __call__(self, call: Call) -> Fault | None:
        matches = (
            (not self.services or call.service in self.services)
            and (not self.actions or call.action in self.actions)
            and (call.changes or not self.only_changes)
            and not self.unless(call)
        )
        if not matches:
            return None
        self.seen += 1
        used_up = self.times is not None and self.met >= self.times
        if self.seen < self.first or used_up or self._random.random() >= self.fraction:
            return None
        self.met += 1
        return self.fault(call) if callable(self.fault) else self.fault


class Gateway:
    """A WSGI application: calls come in, and go on to `behind` (the URL of the embedded AWS) unless a verdict says no.

    verdicts: asked in their order, one call at a time; the first fault counts. One may also only look, or kill
    something at a chosen call, and return None. calls: what came in, with the fault that it met.
    """

    def __init__(self, behind: str) -> None:
        self._behind = behind
        self._lock = threading.Lock()
        self.verdicts: list[Verdict] = []
        self.calls: list[tuple[Call, Fault | None]] = []
        self.url = ""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        body = request.get_data()
        if request.path.startswith("/_embedded/"):
            return self._forwarded(request, body, start_response)
        with self._lock:
            call = replace(_read(request, body), number=len(self.calls) + 1)
            fault = next((fault for verdict in self.verdicts if (fault := verdict(call))), None)
            self.calls.append((call, fault))
        if fault is HANG_UP:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError("the gateway hangs up")
        if fault:
            return _answer(call, fault, start_response)
        return self._forwarded(request, body, start_response)

    @contextmanager
    def under(self, *verdicts: Verdict) -> Iterator[None]:
        """Within, these verdicts hold too."""
        self.verdicts.extend(verdicts)
        try:
            yield
        finally:
            for verdict in verdicts:
                self.verdicts.remove(verdict)

    def met(self) -> list[str]:
        """The calls that met a fault, as `ec2 RunInstances`."""
        return [f"{call.service} {call.action}" for call, fault in self.calls if fault]

    def _forwarded(self, request: Request, body: bytes, start_response: StartResponse) -> Iterable[bytes]:
        place = urlsplit(self._behind)
        connection = http.client.HTTPConnection(place.hostname or HOST, place.port, timeout=_SECONDS)
        target = request.environ["REQUEST_URI"]  # as it came: decoding it once more would make another of it
        try:
            connection.putrequest(request.method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                if name.lower() not in _OF_A_CONNECTION | {"expect"}:
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            # A HEAD is answered with the length of what is not sent.
            kept = _OF_A_CONNECTION if request.method != "HEAD" else _OF_A_CONNECTION - {"content-length"}
            headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in kept]
            content = answer.read()
            start_response(f"{answer.status} {answer.reason}", _with_length(request.method, headers, content))
            return [content]
        finally:
            connection.close()


@contextmanager
def gateway(behind: str) -> Iterator[Gateway]:
    """Serves on a free port of loopback until the end of the block, or of this process."""
    application = Gateway(behind)
    server = make_server(HOST, 0, Received(application), threaded=True, request_handler=RequestHandler)
    application.url = f"http://{HOST}:{server.port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield application
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _read(request: Request, body: bytes) -> Call:
    signed = re.search(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/", request.headers.get("Authorization", ""))
    name = signed[1] if signed else "unknown"
    service = _NAMES.get(name, name)
    protocol = _protocol(request, service)
    tried = re.search(r"\battempt=(\d+)", request.headers.get("Amz-Sdk-Request", ""))
    return Call(
        number=0,
        service=service,
        action=_action(request, service, protocol, body),
        method=request.method,
        path=request.full_path.rstrip("?"),
        attempt=int(tried[1]) if tried else 1,
        protocol=protocol,
    )


def _protocol(request: Request, service: str) -> str:
    if request.headers.get("Smithy-Protocol") == "rpc-v2-cbor":
        return "cbor"
    if "X-Amz-Target" in request.headers:
        return "json"
    if request.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded"):
        return "ec2" if service == "ec2" else "query"
    return "rest-xml" if service == "s3" else "rest-json"


def _action(request: Request, service: str, protocol: str, body: bytes) -> str:
    match protocol:
        case "json":
            return request.headers["X-Amz-Target"].rpartition(".")[2]
        case "query" | "ec2":
            return parse_qs(body.decode()).get("Action", [""])[0]
        case "cbor":
            return request.path.rpartition("/")[2]
        case _:
            try:
                router: Any = get_service_router(service)
                return str(router.match(request)[0].name)
            except Exception:  # no operation of this service has such a path
                return f"{request.method} {request.path}"


def _answer(call: Call, fault: Fault, start_response: StartResponse) -> Iterable[bytes]:
    kind, body = _formatted(call.protocol, fault)
    headers = [("Content-Type", kind), ("x-amzn-RequestId", "00000000-0000-0000-0000-000000000000")]
    if call.protocol == "rest-json":
        headers.append(("x-amzn-ErrorType", fault.code))
    elif call.protocol == "cbor":
        headers.append(("smithy-protocol", "rpc-v2-cbor"))
    content = b"" if call.method == "HEAD" else body
    start_response(f"{fault.status} {fault.code}", _with_length(call.method, headers, content))
    return [content]


def _formatted(protocol: str, fault: Fault) -> tuple[str, bytes]:
    """The content type and the body of an error."""
    error = f"<Code>{escape(fault.code)}</Code><Message>{escape(fault.message)}</Message>"
    match protocol:
        case "ec2":
            return _xml(f"<Response><Errors><Error>{error}</Error></Errors><RequestID>0</RequestID></Response>")
        case "query":
            sender = "Sender" if fault.status < 500 else "Receiver"
            return _xml(
                f"<ErrorResponse><Error><Type>{sender}</Type>{error}</Error><RequestId>0</RequestId></ErrorResponse>"
            )
        case "rest-xml":
            return _xml(f"<Error>{error}<RequestId>0</RequestId></Error>")
        case "json":
            return "application/x-amz-json-1.1", _json({"__type": fault.code, "message": fault.message})
        case "cbor":
            return "application/cbor", b"\xa2" + b"".join(
                map(_cbor_text, ["__type", fault.code, "message", fault.message])
            )
        case _:
            return "application/json", _json({"ErrorCode": fault.code, "Message": fault.message})


def _xml(text: str) -> tuple[str, bytes]:
    return "text/xml", f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()


def _json(document: dict[str, str]) -> bytes:
    return json.dumps(document).encode()


def _cbor_text(text: str) -> bytes:
    encoded = text.encode()
    return b"\x79" + struct.pack(">H", len(encoded)) + encoded  # RFC 8949: a text whose length has two bytes


def _with_length(method: str, headers: list[tuple[str, str]], content: bytes) -> list[tuple[str, str]]:
    return headers if method == "HEAD" else [*headers, ("Content-Length", str(len(content)))]
