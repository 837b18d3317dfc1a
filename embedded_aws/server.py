"""The server: moto's, with the gaps closed, the images present and unimplemented calls answered as AWS errors."""

import io
import json
import logging
import os
import re
import socket
import threading
from importlib.metadata import version
from typing import Any
from wsgiref.types import WSGIApplication

from botocore.exceptions import UnknownServiceError
from botocore.model import OperationNotFoundError
from flask import Flask, Response, jsonify, request
from moto.core.model import OperationModel, ServiceModel
from moto.core.request import determine_request_protocol
from moto.core.routing import get_service_router
from moto.core.serialize import get_serializer_class
from moto.core.utils import get_service_model, service_name_from_moto_package_name
from moto.moto_server.werkzeug_app import (
    BackendRequest,
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.exceptions import HTTPException
from werkzeug.serving import make_server

from embedded_aws.calls import Calls
from embedded_aws.control import HOST
from embedded_aws.gaps import install
from embedded_aws.gaps.volumes import complete_modifications
from embedded_aws.retries import ACTION, OnceOnly, described

NAME = "embedded-aws"
NOT_IMPLEMENTED = "NotImplementedByEmbeddedAWS"
FAILED = "FailedInEmbeddedAWS"

_log = logging.getLogger(NAME)

# Names of moto's packages that do not follow from botocore's.
_BOTOCORE_NAMES = {"awslambda": "lambda", "s3bucket_path": "s3"}


class _AwsError(Exception):
    """What moto's serializers turn into an error of the right protocol."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Application(DomainDispatcherApplication):
    """moto's dispatcher, and beside it GET /_embedded/health, gaps and calls, POST /_embedded/optimized."""

    def __init__(self) -> None:
        super().__init__(self._create_backend)
        self._gaps: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._calls = Calls()
        self._one_at_a_time = threading.Lock()
        self._own = Flask(NAME)
        self._own.add_url_rule("/_embedded/health", "health", self._health)
        self._own.add_url_rule("/_embedded/gaps", "gaps", self._list_gaps)
        self._own.add_url_rule("/_embedded/optimized", "optimized", self._optimized, methods=["POST"])
        self._own.add_url_rule("/_embedded/calls", "calls", self._list_calls)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ.get("PATH_INFO", "").startswith("/_embedded/"):
            return self._own(environ, start_response)
        with self._one_at_a_time:  # Terraform asks ten things at once, and moto's models have no locks
            self._calls.add(environ)
            return super().__call__(environ, start_response)

    def _health(self) -> Response:
        return jsonify(ok=True, server=NAME, pid=os.getpid(), version={"moto": version("moto")})

    def _list_gaps(self) -> Response:
        return jsonify(list(self._gaps.values()))

    def _optimized(self) -> Response:
        """Complete volume modifications at once, which take EC2 up to hours."""
        with self._one_at_a_time:
            return jsonify(completed=complete_modifications())

    def _list_calls(self) -> Response:
        with self._one_at_a_time:
            return jsonify(self._calls.listed())

    def _create_backend(self, service: Any) -> Flask:
        # None: a service that moto does not know at all.
        app = create_backend_app(service) if service else Flask("unknown")
        app.request_class = BackendRequest
        app.register_error_handler(Exception, lambda error: self._answer_failure(service, error))
        return app

    def _answer_failure(self, backend: str | None, error: Exception) -> Any:
        """Turn an HTML error page into an error that SDKs can read, and remember it."""
        if isinstance(error, HTTPException) and error is not request.routing_exception:
            return error  # moto's own, already AWS-shaped
        service = _service_name(backend)
        model = _service_model(service)
        operation = _operation_name(model)
        if isinstance(error, (NotImplementedError, HTTPException)):
            code = NOT_IMPLEMENTED
            message = f"The embedded AWS does not implement {service} {operation}; a real account does."
        else:
            code = FAILED
            message = f"The embedded AWS failed in {service} {operation}, by no fault of the caller: {error!r}"
        _log.exception("%s", message, exc_info=error)
        gap = self._gaps.setdefault(
            (service, operation, code),
            {"service": service, "operation": operation, "code": code, "message": message, "count": 0},
        )
        gap["count"] += 1
        return _error_response(model, operation, code, message)


class RequestHandler(MotoRequestHandler):
    """moto's, with every answer sent in one piece, and a line in the log for every one that got lost.

    In one piece, since the AWS provider loses answers that come in two, which werkzeug makes of them: headers, body.
    When its SDK has the headers it closes the request's body. If net/http is not yet through with sending that (an
    answer from loopback can be as quick) it takes this for a failed write and hangs up, and the SDK tries again:
    aws/smithy-go, transport/http/internal/io/safe.go, which was corrected later than hashicorp/aws 5.100.0; seen on the
    wire in 2026-11, in one of a thousand requests on a busy machine. What came with the headers is safe, up to the 4 kB
    that net/http reads at once.
    """

    wbufsize = 2**20

    def make_environ(self) -> dict[str, Any]:
        """Return the request's head, read. Before it came "100 Continue", where the client waits for it."""
        self.wfile.flush()
        return super().make_environ()

    def send_response(self, code: int, message: str | None = None) -> None:
        """Send an answer; every one passes through here."""
        if self._is_left():
            self._log_lost("the client had hung up before the answer was ready")
        super().send_response(code, message)

    def connection_dropped(self, error: BaseException, environ: dict[str, Any] | None = None) -> None:
        """Return the connection broke while a request came in or its answer went out."""
        self._log_lost(repr(error))

    def _is_left(self) -> bool:
        try:
            waiting: bytes = self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            return not waiting
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _log_lost(self, why: str) -> None:
        environ = getattr(self, "environ", None)
        _log.warning("connection lost: %s: %s", described(environ) if environ else "before a request", why)


class Received:
    """A WSGI application that passes a request on to another one when all of its body is here.

    A client that takes its time must not keep all others waiting. And what werkzeug leaves unread when it closes makes
    the kernel reset the connection, by which the client can lose the answer: it waits 10 ms for the rest of a body that
    nobody has read, and a busy machine takes longer. Raises ConnectionError for a body that ends too early.
    """

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        stream = environ["wsgi.input"]
        if environ.get("wsgi.input_terminated"):  # chunked
            body = stream.read()
        else:
            expected = int(environ.get("CONTENT_LENGTH") or 0)
            body = stream.read(expected)
            if len(body) < expected:
                raise ConnectionError(f"{len(body)} of {expected} bytes came in")
        environ["wsgi.input"] = io.BytesIO(body)
        if "x-www-form-urlencoded" in environ.get("CONTENT_TYPE", ""):
            action = re.search(rb"(?:^|&)Action=(\w+)", body)
            environ[ACTION] = action[1].decode() if action else ""
        return self._application(environ, start_response)


def _service_name(backend: str | None) -> str:
    if backend:
        return _BOTOCORE_NAMES.get(backend) or service_name_from_moto_package_name(backend)
    signed_for = re.search(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/", request.headers.get("Authorization", ""))
    return signed_for.group(1) if signed_for else "unknown"


def _service_model(service: str) -> ServiceModel | None:
    try:
        return get_service_model(service)
    except UnknownServiceError:
        return None


def _operation_name(model: ServiceModel | None) -> str:
    action: str | None = request.values.get("Action") or request.headers.get("X-Amz-Target", "").split(".")[-1]
    if not action and model:
        try:
            router: Any = get_service_router(model.service_name)
            action = router.match(request)[0].name
        except Exception:  # no operation of this service has such a path
            action = None
    return action or f"{request.method} {request.path}"


def _error_response(model: ServiceModel | None, operation: str, code: str, message: str) -> Response:
    # 501 also for failures: SDKs retry 500 for many minutes, and this would fail again.
    if model is None:
        body = json.dumps({"__type": code, "message": message})
        return Response(body, 501, {"X-Amzn-ErrorType": code, "Content-Type": "application/x-amz-json-1.1"})
    try:
        operation_model = model.operation_model(operation)
    except OperationNotFoundError:
        operation_model = OperationModel({}, model)
    protocol = determine_request_protocol(model, request.content_type)
    serializer = get_serializer_class(model.service_name, protocol)(operation_model)
    serialized = serializer.serialize(_AwsError(code, message))
    return Response(serialized["body"], 501, serialized["headers"])


def serve(port: int) -> None:
    """Serve on loopback until the process is ended."""
    install()
    application = Received(OnceOnly(Application()))
    server = make_server(HOST, port, application, threaded=True, request_handler=RequestHandler)
    print(f"{NAME} on http://{HOST}:{server.port}, pid {os.getpid()}", flush=True)
    server.serve_forever()
