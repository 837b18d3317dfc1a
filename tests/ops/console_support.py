"""Consoles for the machines of an account: what EC2's GetConsoleOutput answers."""

import base64
import contextlib
import http.client
import http.server
import threading
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import parse_qs, urlsplit

from tests.ops.sshd_support import World


@contextlib.contextmanager
def consoles(world: World, texts: Mapping[str, str | None], *, latest: bool = True) -> Iterator[str]:
    """Another address of the account, where the machines of these ids have this on their consoles; None: a refusal.

    latest: whether they show their latest console, as Nitro does. moto has the same text, which no cloud-init ever
    wrote, on every console.
    """
    target = urlsplit(world.environment["AWS_ENDPOINT_URL"])

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            asked = {name: values[0] for name, values in parse_qs(body.decode(errors="replace")).items()}
            if asked.get("Action") == "GetConsoleOutput" and asked["InstanceId"] in texts:
                text = texts[asked["InstanceId"]]
                refused = "UnauthorizedOperation" if text is None else None
                if asked.get("Latest") == "true" and not latest:
                    refused = "UnsupportedOperation"
                self._answer(*_console_answer(asked["InstanceId"], text, refused))
                return
            connection = http.client.HTTPConnection(target.hostname or "", target.port or 80, timeout=60)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            self._answer(answer.status, answer.read(), answer.headers.items())
            connection.close()

        do_GET = do_PUT = do_HEAD = do_POST  # noqa: N815

        def _answer(self, status: int, body: bytes, headers: Iterable[tuple[str, str]] = ()) -> None:
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _console_answer(instance_id: str, text: str | None, refused: str | None) -> tuple[int, bytes]:
    """As https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetConsoleOutput.html shows it."""
    if refused:
        return 403, (
            f"<Response><Errors><Error><Code>{refused}</Code><Message>Refused</Message></Error></Errors>"
            "<RequestID>r</RequestID></Response>"
        ).encode()
    output = base64.b64encode((text or "").encode()).decode()
    return 200, (
        '<GetConsoleOutputResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId>'
        f"<instanceId>{instance_id}</instanceId><timestamp>2026-01-01T00:00:00.000Z</timestamp>"
        f"<output>{output}</output></GetConsoleOutputResponse>"
    ).encode()


def console_with(*keys: str) -> str:
    """A console as a first boot of Ubuntu leaves it, with these public keys."""
    return "\r\n".join(
        [
            "[    0.000000] Linux version 6.8.0-1021-aws (buildd@lcy02-amd64-110)",
            "<14>Jan  6 15:27:31 cloud-init: -----BEGIN SSH HOST KEY FINGERPRINTS-----",
            "<14>Jan  6 15:27:31 cloud-init: 256 SHA256:BOyEUuM4iXqSIlaoCcp+wOsLB3w+ZBZLPxxNdEY7WkQ root@ip (ED25519)",
            "<14>Jan  6 15:27:32 cloud-init: -----END SSH HOST KEY FINGERPRINTS-----",
            "-----BEGIN SSH HOST KEY KEYS-----",
            *keys,
            "-----END SSH HOST KEY KEYS-----",
            "[  317.256910] cloud-init[1278]: Cloud-init v. 24.4 finished at Thu, 06 Jan 2026 15:27:32 +0000.",
            "",
        ]
    )
