"""A request that is sent again gets the answer that it missed, instead of being executed twice.

An SDK whose connection breaks does not know whether the server has acted, and the AWS provider sends the request again
all the same (connection errors and resets are on the list of aws-sdk-go-v2's package aws/retry). The second CreateRoute
is then refused with RouteAlreadyExists, and Terraform stops with a route that is not in its state. Real EC2 has the
same hazard with every call that takes no client token, only rarely. Here the provider broke connections by itself
(`server.RequestHandler` says how), and deploys failed by chance on a busy machine. So this is kinder than AWS, on
purpose, and no proof that a deploy survives a lost answer there.

All attempts of one call carry the same Amz-Sdk-Invocation-Id, and Amz-Sdk-Request counts them: "attempt=2; max=25"
(aws-sdk-go-v2, aws/retry/middleware.go; seen from hashicorp/aws 5.100.0 in 2026-11).
"""

import logging
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# A deploy of all stacks and its destroy are under a thousand requests that are not GET, their answers mostly a few kB.
_MOST_ANSWERS = 2_000
_MOST_BYTES = 32 * 2**20

# In the environ of a request: the Action of its form, for the log.
ACTION = "embedded_aws.action"

_log = logging.getLogger("embedded-aws")


@dataclass(frozen=True)
class _Answer:
    status: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def is_final(self) -> bool:
        """Whether the client will not try again by itself. After a refusal it may, and finds out what holds by then."""
        return int(self.status[:3]) < 400

    @property
    def size(self) -> int:
        return len(self.body) + sum(len(name) + len(value) for name, value in self.headers)

    def send(self, start_response: StartResponse) -> Iterable[bytes]:
        start_response(self.status, self.headers)
        return [self.body]


@dataclass
class _Attempt:
    """One that is being executed, or that has been. answer: None until it is over, and when it is to be done again."""

    number: int
    over: threading.Event = field(default_factory=threading.Event)
    answer: _Answer | None = None


class OnceOnly:
    """A WSGI application around another one, which executes a call that succeeded no second time.

    Only calls that may change something are remembered, the last `most_answers` of them and `most_bytes` of answers.
    """

    def __init__(
        self, application: WSGIApplication, *, most_answers: int = _MOST_ANSWERS, most_bytes: int = _MOST_BYTES
    ) -> None:
        self._application = application
        self._most_answers = most_answers
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._attempts: dict[str, _Attempt] = {}  # the oldest first

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        invocation = environ.get("HTTP_AMZ_SDK_INVOCATION_ID")
        if not invocation or environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return self._application(environ, start_response)
        # A client may send a call on to another place, under the same id.
        call = " ".join([invocation, environ["REQUEST_METHOD"], environ.get("HTTP_HOST", ""), _target(environ)])
        number = _number(environ)
        if number > 1:
            _log.warning("%s: attempt %d", described(environ), number)
        while True:
            with self._lock:
                # Of two connections the later one can be served first.
                other = self._attempts.get(call)
                if other is None or other.number == number:
                    mine = self._attempts[call] = _Attempt(number)
                    break
            other.over.wait()
            if other.answer:
                _log.warning("%s: another attempt had acted, and this one gets its answer", described(environ))
                return other.answer.send(start_response)
        try:
            answer = _executed(self._application, environ)
            if answer.is_final:
                mine.answer = answer
        finally:
            self._end(call, mine)
        return answer.send(start_response)

    def _end(self, call: str, attempt: _Attempt) -> None:
        with self._lock:
            if attempt.answer:
                self._forget_oldest()
            elif self._attempts.get(call) is attempt:
                del self._attempts[call]
        attempt.over.set()

    def _forget_oldest(self) -> None:
        answered = {call: each.answer.size for call, each in self._attempts.items() if each.answer}
        size = sum(answered.values())
        for call in answered:
            if len(self._attempts) <= self._most_answers and size <= self._most_bytes:
                return
            size -= answered[call]
            del self._attempts[call]


def described(environ: WSGIEnvironment) -> str:
    """Return a request in a line of the log."""
    invocation = environ.get("HTTP_AMZ_SDK_INVOCATION_ID", "without an invocation id")
    what = environ.get("HTTP_X_AMZ_TARGET") or environ.get(ACTION, "")
    return " ".join(filter(None, [environ["REQUEST_METHOD"], _target(environ), what, f"({invocation})"]))


def _target(environ: WSGIEnvironment) -> str:
    query = environ.get("QUERY_STRING")
    return f"{environ.get('PATH_INFO', '')}{'?' + query if query else ''}"


def _number(environ: WSGIEnvironment) -> int:
    found = re.search(r"\battempt=(\d+)", environ.get("HTTP_AMZ_SDK_REQUEST", ""))
    return int(found[1]) if found else 1


def _executed(application: WSGIApplication, environ: WSGIEnvironment) -> _Answer:
    head: list[Any] = []
    parts: list[bytes] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        head[:] = [status, list(headers)]
        return parts.append

    answered = application(environ, start_response)
    try:
        parts.extend(answered)
    finally:
        if hasattr(answered, "close"):
            answered.close()
    return _Answer(head[0], head[1], b"".join(parts))
