"""A person with an account on the embedded AWS, and a front that answers some calls in its place."""

import json
import os
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qs, urlsplit

from embedded_aws import control
from tests.ops import support
from tests.ops.support import Finished, Running

KEY_PAIR, BUCKET = "a-key", "a-state-bucket"
SETTINGS = f"""
[access]
deployer_cidrs = ["203.0.113.7/32"]
ssh_keypair_name = "{KEY_PAIR}"
[state]
bucket = "{BUCKET}"
"""


@cache
def _repositories() -> tuple[TemporaryDirectory[str], str]:
    """A folder in GitHub's place, with the default training repository, and the id of its older commit."""
    folder = TemporaryDirectory(prefix="ml-infra-github-")
    repository = Path(folder.name, "DMW2151", "msls-pytorch-dcgan")
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "PATH": os.environ["PATH"]}

    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.com", "-C", str(repository), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=quiet).stdout.strip()

    repository.mkdir(parents=True)
    git("init", "-q", "-b", "main")
    for number in (1, 2):
        git("commit", "-q", "--allow-empty", "-m", str(number))
    git("tag", "v1")
    # As GitHub does.
    for key in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
        git("config", key, "true")
    return folder, git("rev-parse", "HEAD~1")


def github() -> dict[str, str]:
    """Variables with which git takes what is at https://github.com/ from this machine, and the revision there is."""
    folder, _ = _repositories()
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{folder.name}/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
        "ML_INFRA_TRAIN_MODEL__TRAINING_REVISION": "main",
    }


def older_commit() -> str:
    """The id of a commit that no name points to."""
    return _repositories()[1]


@dataclass
class Person:
    """Somebody with a home, a settings file and an environment, and with an account on the embedded AWS."""

    home: Path
    endpoint: control.Endpoint
    variables: dict[str, str] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)  # services of which the test has had a client

    @property
    def settings(self) -> Path:
        return self.home / "my settings.toml"

    def environment(self, **more: str | None) -> dict[str, str]:
        """Of this person; a variable that is None is not set."""
        made: dict[str, str | None] = {
            **support.environment(self.endpoint),
            "HOME": str(self.home),
            "ML_INFRA_SETTINGS": str(self.settings),
            **github(),
            **self.variables,
            **more,
        }
        return {name: value for name, value in made.items() if value is not None}

    def ops(self, *arguments: str, stdin: str = "", **more: str | None) -> Finished:
        """Runs it in this process."""
        return support.run(arguments, self.environment(**more), stdin=stdin)

    def start(self, *arguments: str, **more: str | None) -> Running:
        """A process."""
        return support.start(arguments, self.environment(**more), self.home)

    def process(self, *arguments: str, **more: str | None) -> Finished:
        """Runs it as a process to its end."""
        return self.start(*arguments, **more).ended()

    def aws(self, service: str, region: str = "us-east-1") -> Any:
        """A client of the embedded AWS itself, past any front."""
        self.touched.add(service)
        return support.client(self.endpoint.url, service, region)

    def write(self, text: str = SETTINGS) -> None:
        self.settings.write_text(text, encoding="utf-8")


def clear(endpoint: control.Endpoint) -> None:
    """Takes buckets and key pairs away, as of a new account: all that init and bootstrap look at."""
    s3 = support.client(endpoint.url, "s3")
    for bucket in s3.list_buckets()["Buckets"]:
        name = bucket["Name"]
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=name):
            for version in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
                s3.delete_object(Bucket=name, Key=version["Key"], VersionId=version["VersionId"])
        s3.delete_bucket_tagging(Bucket=name)  # moto gives them to the next bucket of that name
        s3.delete_bucket(Bucket=name)
    for region in ("us-east-1", "eu-west-1"):
        ec2 = support.client(endpoint.url, "ec2", region)
        for pair in ec2.describe_key_pairs()["KeyPairs"]:
            ec2.delete_key_pair(KeyName=pair["KeyName"])


def reset(endpoint: control.Endpoint) -> None:
    """Takes everything away; the embedded AWS needs a second for it."""
    request = urllib.request.Request(f"{endpoint.url}/moto-api/reset", method="POST")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        assert answer.status == 200


@dataclass(frozen=True)
class Request:
    """A call as it came in. operation: by target, Action, or for S3 method and path with the query's first word."""

    operation: str
    headers: Mapping[str, str]
    body: bytes
    form: Mapping[str, list[str]]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What the front says instead of the embedded AWS."""

    status: int
    body: bytes
    kind: str = "application/x-amz-json-1.1"
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, document: Any) -> "Answer":
        return cls(200, json.dumps(document).encode())

    @classmethod
    def json_error(cls, code: str, message: str = "made on purpose") -> "Answer":
        return cls(400, json.dumps({"__type": code, "message": message}).encode())

    @classmethod
    def xml_error(cls, code: str, status: int = 403, message: str = "made on purpose") -> "Answer":
        body = (
            f"<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error>"
            "<RequestId>c6104cbe-af31-11e0-8154-cbc7ccf896c7</RequestId></ErrorResponse>"
        )
        return cls(status, body.encode(), "text/xml")

    @classmethod
    def head(cls, status: int) -> "Answer":
        """As S3 answers a HEAD: no body, and so no code, but its ids."""
        ids = {"x-amz-request-id": "4442587FB7D0A2F9", "x-amz-id-2": "fvh94QXfPmBJbIEVeHyC7/u46doLVBM1mNo2TtaqNZo="}
        return cls(status, b"", "application/xml", ids)

    @classmethod
    def ec2_error(cls, code: str) -> "Answer":
        body = f"<Response><Errors><Error><Code>{code}</Code><Message>no</Message></Error></Errors></Response>"
        return cls(403, body.encode(), "text/xml")


Rule = Callable[[Request], Answer | None]


@contextmanager
def front(endpoint: control.Endpoint, rules: Mapping[str, Rule], date: str | None = None) -> Iterator[str]:
    """A server before the embedded AWS that answers the operations of `rules` as the rule says, and passes on the rest.

    A rule that gives None passes on, too. date: the Date header of every answer. Yields its URL.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            is_form = "x-www-form-urlencoded" in self.headers.get("Content-Type", "")
            form = parse_qs(body.decode()) if is_form else {}
            request = Request(self._operation(form), dict(self.headers), body, form)
            rule = rules.get(request.operation)
            answer = rule(request) if rule else None
            if answer:
                self._send(answer.status, {"Content-Type": answer.kind, **answer.headers}, answer.body)
                return
            connection = HTTPConnection(control.HOST, endpoint.port, timeout=60)
            connection.request(self.command, self.path, body, dict(self.headers))
            passed = connection.getresponse()
            content = passed.read()
            connection.close()
            dropped = ("date", "server", "transfer-encoding", "connection", "content-length")
            headers = {key: value for key, value in passed.getheaders() if key.lower() not in dropped}
            length = passed.getheader("Content-Length") if self.command == "HEAD" else None
            self._send(passed.status, headers, content, length)

        def _operation(self, form: Mapping[str, list[str]]) -> str:
            if target := self.headers.get("X-Amz-Target"):
                return target.rpartition(".")[2]
            if "Action" in form:
                return form["Action"][0]
            parts = urlsplit(self.path)
            query = parts.query.partition("=")[0].partition("&")[0]
            return f"{self.command} {parts.path}{'?' + query if query else ''}"

        def _send(self, status: int, headers: Mapping[str, str], body: bytes, length: str | None = None) -> None:
            self.send_response_only(status)
            self.send_header("Date", date or self.date_time_string())
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", length or str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((control.HOST, 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://{control.HOST}:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()
