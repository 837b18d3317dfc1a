"""The local shell's environment, tried with Terraform and boto3: whatever a person has set, nothing goes elsewhere."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from embedded_aws import control
from tests.embedded_aws.conftest import ClientFactory
from tools import local

BUCKET = "states-of-the-sealed"


@contextmanager
def elsewhere() -> Iterator[tuple[str, list[str]]]:
    """A server that takes anything for an answer, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            asked.append(f"{self.command} {self.path}")
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((control.HOST, 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://{control.HOST}:{server.server_address[1]}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def unsealing(url: str, folder: Path) -> dict[str, str]:
    """What people have set for other work, each of which once led somewhere else."""
    config = folder / "aws config"
    config.write_text(
        f"[default]\nregion = eu-west-1\nendpoint_url = {url}\nuse_fips_endpoint = true\n[profile work]\n", "utf-8"
    )
    return {
        "AWS_CONFIG_FILE": str(config),
        "AWS_PROFILE": "work",
        "AWS_ENDPOINT_URL_S3": url,
        "AWS_ENDPOINT_URL_STS": url,
        "AWS_ENDPOINT_URL_IAM": url,
        "AWS_S3_ENDPOINT": url,
        "AWS_STS_ENDPOINT": url,
        "TF_AWS_S3_ENDPOINT": url,
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/another",
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(config),
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": url,
        "AWS_METADATA_URL": url,
        "AWS_SSE_CUSTOMER_KEY": "bWFkZSBvbiBwdXJwb3NlLCBhbmQgMzIgYnl0ZXMgbG9uZw==",
        "TF_DATA_DIR": str(folder / "shared"),
        "TF_CLI_ARGS": "-no-such-option",
    }


@pytest.fixture
def sealed(endpoint: control.Endpoint, tmp_path: Path) -> Iterator[tuple[dict[str, str], list[str]]]:
    with elsewhere() as (url, asked):
        base = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        yield local.variables(endpoint, "us-east-1", base | unsealing(url, tmp_path)), asked


def test_the_state_goes_to_the_embedded_aws(
    client: ClientFactory, sealed: tuple[dict[str, str], list[str]], tmp_path: Path
) -> None:
    variables, asked = sealed
    s3 = client("s3")
    s3.create_bucket(Bucket=BUCKET)
    folder = tmp_path / "stack"
    folder.mkdir()
    backend = {"bucket": BUCKET, "key": "a.tfstate", "region": "us-east-1", "use_path_style": True}
    document = {"terraform": {"backend": {"s3": backend}}, "output": {"where": {"value": "here"}}}
    (folder / "main.tf.json").write_text(json.dumps(document), encoding="utf-8")

    for command in (["init", "-input=false"], ["apply", "-input=false", "-auto-approve"]):
        ended = subprocess.run(
            ["terraform", *command], cwd=folder, env=variables, capture_output=True, text=True, check=False, timeout=120
        )
        assert ended.returncode == 0, ended.stderr

    state = json.loads(s3.get_object(Bucket=BUCKET, Key="a.tfstate")["Body"].read())
    assert state["outputs"]["where"]["value"] == "here"
    assert (folder / ".terraform").is_dir()
    assert asked == []


def test_boto3_asks_the_embedded_aws(sealed: tuple[dict[str, str], list[str]]) -> None:
    variables, asked = sealed
    program = (
        "import boto3\n"
        "print(boto3.client('sts').get_caller_identity()['Account'], boto3.client('s3').list_buckets()['Owner']['ID'],"
        " boto3.session.Session().region_name)"
    )

    ended = subprocess.run(
        [sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=False, timeout=120
    )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split()[::2] == ["123456789012", "us-east-1"]
    assert asked == []
