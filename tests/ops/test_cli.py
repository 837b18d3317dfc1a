"""The frame of the program: what a wrong command line, an interrupt, a closed pipe and a failure look like."""

import json
import os
import pty
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded_aws import control
from ops.core.aws_errors import is_web_page
from ops.core.environment import ROOT
from ops.core.version import versions
from ops.doctor import account as doctor_account
from tests.ops.aws_support import BUCKET, Answer, Person, clear, front
from tools import set_up

COMMANDS = (
    *(
        "init",
        "bootstrap",
        "doctor",
        "permissions",
        "cost",
        "status",
        "wait",
        "start",
        "stop",
        "logs",
        "unlock",
        "push-state",
    ),
    *("ssh", "ssh-config", "tunnel", "push", "pull", "notebook"),
)


@pytest.fixture
def person(empty_endpoint: control.Endpoint, tmp_path: Path) -> Person:
    clear(empty_endpoint)
    person = Person(tmp_path, empty_endpoint)
    person.write()
    return person


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_without_a_command_it_shows_the_help_and_is_a_wrong_command_line(person: Person) -> None:
    ended = person.process()

    assert ended.status == 2
    for command in COMMANDS:
        assert f"│ {command} " in ended.out
    assert "Traceback" not in ended.err


def test_h_is_help(person: Person) -> None:
    assert person.ops("-h").out == person.ops("--help").out
    assert person.ops("unlock", "-h").out == person.ops("unlock", "--help").out


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_versions_that_a_report_of_a_fault_needs(person: Person, option: str) -> None:
    ended = person.ops(option)

    assert (ended.status, ended.err) == (0, "")
    assert re.fullmatch(
        r"ops 0\.9\.0 \(([0-9a-f]{12}(-dirty)?|no git checkout|unknown commit)\), Terraform 1\.\d+\.\d+, "
        r"hashicorp/aws 5\.100\.0, cdktf 0\.21\.0, cdktf-cli 0\.21\.0, Python 3\.\d+\.\d+\n",
        ended.out,
    )


def test_the_versions_name_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    said = versions(tmp_path)

    assert said.startswith("ops 0.9.0 (unknown commit), Terraform missing or unusable (terraform is not on the PATH),")
    assert ", cdktf-cli missing: run make setup, Python 3." in said


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("ops unl", ["unlock"]),
        ("ops unlock tr", ["train-model", "train-model-dev"]),
        ("ops wait w", ["worker"]),
        ("ops ssh j", ["jump"]),
        ("ops tunnel t", ["tensorboard"]),
    ],
)
def test_the_shell_completes_what_is_typed(person: Person, typed: str, offered: list[str]) -> None:
    words = len(typed.split()) - 1
    ended = person.process(COMP_WORDS=typed, COMP_CWORD=str(words), _OPS_COMPLETE="complete_bash")

    assert ended.out.split() == offered


@pytest.mark.parametrize("arguments", [["--help"], *([command, "--help"] for command in COMMANDS)])
def test_help_fits_80_columns_and_teaches(person: Person, arguments: list[str]) -> None:
    ended = person.ops(*arguments)

    assert (ended.status, ended.err) == (0, "")
    assert max(len(line) for line in ended.out.splitlines()) <= 80
    assert "\x1b" not in ended.out
    if len(arguments) == 2:
        assert "Example: " in ended.out
        assert f"ops {arguments[0]}" in ended.out.partition("Example: ")[2]
        assert "--json" in ended.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["docter"], "ops: No such command 'docter'. Did you mean 'doctor'? See: ops --help\n"),
        (["xyzzy"], "ops: No such command 'xyzzy'. See: ops --help\n"),
        (["--nope"], "ops: No such option: --nope. See: ops --help\n"),
        (["doctor", "--jsn"], "ops: No such option: --jsn (Possible options: --json). See: ops doctor --help\n"),
        (["init", "--region"], "ops: Option '--region' requires an argument. See: ops init --help\n"),
    ],
)
def test_a_wrong_command_line_is_one_line_with_the_way_out(person: Person, arguments: list[str], said: str) -> None:
    ended = person.ops(*arguments)

    assert (ended.status, ended.out, ended.err) == (2, "", said)


def test_with_json_an_error_is_one_document_on_stdout(person: Person) -> None:
    ended = person.ops("doctor", "train-modle", "--json")

    assert ended.status == 2
    assert ended.document == {"error": "unknown stack 'train-modle': did you mean train-model?"}
    assert "did you mean train-model?" in ended.err.lower()


def test_a_wrong_command_line_with_json_is_a_document_too(person: Person) -> None:
    ended = person.ops("bootstrap", "--chek", "--json")

    assert ended.status == 2
    assert ended.document["error"].startswith("No such option: --chek")


def test_refused_settings_are_told_without_a_traceback(person: Person) -> None:
    person.write('[state]\nbucket = "Not_A_Bucket"\n')

    ended = person.ops("bootstrap", "--json")

    assert ended.status == 1
    assert "Did you mean not-a-bucket?" in ended.document["error"]
    assert ended.err.startswith("ops: The settings have ")
    assert "Traceback" not in ended.err


def test_without_credentials_it_says_where_they_come_from(person: Person) -> None:
    ended = person.ops("bootstrap", AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None)

    assert ended.status == 1
    assert ended.said == (
        "ops: AWS: Unable to locate credentials: set credentials as for the AWS CLI, or use make local-shell for the "
        "embedded AWS"
    )


def test_an_endpoint_that_does_not_answer_is_told(person: Person) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    ended = person.ops("bootstrap", AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}")

    assert ended.status == 1
    assert ended.said.startswith("ops: AWS cannot be reached: Could not connect to the endpoint URL")
    assert "Traceback" not in ended.err


PROCESS = "[default]\ncredential_process = {}\n"
ROLE = "[default]\nrole_arn = arn:aws:iam::123456789012:role/x\nweb_identity_token_file = {}\n"
HTML = Answer(200, b"<!DOCTYPE html>\n<html><body>log in to the hotel<br></body></html>", "text/html")
XHTML = Answer(200, b'<?xml version="1.0"?>\n<html><body>log in to the hotel</body></html>', "text/html")


@pytest.mark.parametrize(
    ("configuration", "endpoint", "what", "way_out"),
    [
        (PROCESS.format("/nowhere/helper"), None, "/nowhere/helper, named in", "correct credential_process"),
        (PROCESS.format("/bin/echo hello"), None, "Expecting value", "the output of any credential_process"),
        (PROCESS.format("/bin/echo []"), None, "cannot be used", "the output of any credential_process"),
        (ROLE.format("/nowhere/token"), None, "/nowhere/token, named in", "web_identity_token_file"),
        ("", "localhost:5000", "Invalid endpoint: localhost:5000", "to http://HOST:PORT, or unset it"),
    ],
)
@pytest.mark.parametrize("command", ["bootstrap", "doctor"])
def test_a_configuration_that_cannot_be_used_is_told_with_the_way_out(
    person: Person, command: str, configuration: str, endpoint: str | None, what: str, way_out: str
) -> None:
    file = person.home / "aws config"
    file.write_text(configuration, encoding="utf-8")

    ended = person.ops(
        command,
        "--json",
        AWS_CONFIG_FILE=str(file),
        AWS_ACCESS_KEY_ID=None,
        AWS_SECRET_ACCESS_KEY=None,
        AWS_ENDPOINT_URL=endpoint or person.endpoint.url,
    )

    assert ended.status == 1
    if command == "doctor":
        (found,) = [each for each in ended.document["findings"] if each["subject"] == "credentials"]
        assert found["state"] == "problem"
        said = f"{found['detail']} {found['fix']}"
    else:
        said = ended.document["error"]
        assert ended.err.count("\n") == 1
    assert what in said
    assert way_out in said


def test_a_section_that_is_none_is_told_with_the_way_out(person: Person) -> None:
    file = person.home / "aws config"
    file.write_text("[default]\ns3 = foo\n", encoding="utf-8")

    ended = person.ops("bootstrap", "--json", AWS_CONFIG_FILE=str(file))

    assert ended.status == 1
    assert "your AWS configuration cannot be used" in ended.document["error"]
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    "page", [HTML, XHTML, Answer(403, HTML.body, "text/html"), Answer(200, b"\xffgarbage"), Answer(200, b"<ok/>")]
)
@pytest.mark.parametrize("command", ["bootstrap", "doctor"])
def test_a_proxy_that_answers_for_aws_is_told(person: Person, command: str, page: Answer) -> None:
    with front(person.endpoint, {"GetCallerIdentity": lambda _: page}) as url:
        ended = person.ops(command, "--json", AWS_ENDPOINT_URL=url)

    assert ended.status == 1
    said = str(ended.document)
    assert "the answer to GetCallerIdentity was" in said
    assert "check HTTPS_PROXY and AWS_ENDPOINT_URL" in said


def test_doctor_goes_on_when_who_calls_cannot_be_asked(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("nobody expected this")

    monkeypatch.setattr(doctor_account, "clock", broken)

    ended = person.ops("doctor", "--json")

    (found,) = [each for each in ended.document["findings"] if each["subject"] == "credentials"]
    assert (found["state"], found["detail"]) == ("unknown", "this check failed: KeyError('nobody expected this')")
    assert [each["state"] for each in ended.document["findings"] if each["subject"] == "the rest"] == ["unknown"]


@pytest.mark.parametrize("page", [HTML, XHTML, Answer(404, HTML.body, "text/html")])
def test_a_web_page_in_place_of_a_state_or_a_lock_is_neither(person: Person, page: Answer) -> None:
    for command, said in _answered_for_s3(person, page):
        assert "was a web page, so it did not come from AWS" in said, command
        assert "older version" not in said, command
        assert "delete" not in said, command


@pytest.mark.parametrize(
    "page",
    [
        Answer(404, b"404 page not found\n", "text/plain"),  # Go's http.NotFound
        Answer(404, b"", "text/html"),
        Answer(404, b'{"message":"no Route matched with those values"}', "application/json"),  # Kong
        Answer(404, b"<head><title>404 Not Found</title></head>", "text/html"),
        Answer(302, b"", "text/html"),
        Answer(403, b"Access to this site is blocked by policy", "text/plain"),
    ],
)
def test_an_error_that_is_not_of_aws_is_no_missing_state(person: Person, page: Answer) -> None:
    for command, said in _answered_for_s3(person, page):
        assert f"was {page.status} without an AWS request id or error code" in said, command
        assert "check HTTPS_PROXY and AWS_ENDPOINT_URL" in said, command


def _answered_for_s3(person: Person, page: Answer) -> Iterator[tuple[str, str]]:
    """Each command that reads a state or a lock, and what it says when `page` comes in the place of what it reads."""
    state = f"/{BUCKET}/ml-core/ml-core/us-east-1/train-model.tfstate"
    person.aws("s3").create_bucket(Bucket=BUCKET)
    for command, path in (
        ("status", state),
        ("unlock", f"{state}.tflock"),
        ("stop worker", state),
        ("wait jump", state.replace("train-model", "mlcore")),
    ):
        with front(person.endpoint, {f"GET {path}": lambda _: page}) as url:
            ended = person.ops(*command.split(), "--json", AWS_ENDPOINT_URL=url)

        assert ended.status == 1, command
        yield command, ended.document["error"]


def test_a_404_of_a_proxy_is_no_missing_bucket(person: Person) -> None:
    with front(person.endpoint, {f"HEAD /{BUCKET}": lambda _: Answer(404, b"")}) as url:
        ended = person.ops("bootstrap", "--json", AWS_ENDPOINT_URL=url)

    assert ended.status == 1
    assert "the answer to HeadBucket was 404" in ended.document["error"]
    assert not person.aws("s3").list_buckets()["Buckets"]


@pytest.mark.system
def test_text_in_place_of_json_is_no_empty_answer(person: Person) -> None:
    person.aws("s3").create_bucket(Bucket=BUCKET)
    with front(person.endpoint, {"ListServiceQuotas": lambda _: Answer(200, b"log in first", "text/plain")}) as url:
        ended = person.ops("doctor", "--json", AWS_ENDPOINT_URL=url)

    assert "the answer to ListServiceQuotas was unreadable, so it did not come from AWS" in str(ended.document)


def test_a_page_of_comments_is_told_at_once() -> None:
    assert is_web_page(b"<!-- x -->" * 1000 + b"<html>")
    assert not is_web_page(b"<!---->" * 1000)


@pytest.mark.parametrize("text", ['{"Parameters":["<html>"]}', "<Answer><html/></Answer>", "<htmlish/>", ""])
def test_an_answer_that_only_quotes_a_web_page_is_none(text: str) -> None:
    assert not is_web_page(text.encode())


def test_ctrl_c_ends_it_with_130_and_one_word(person: Person, silent_server: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "ops", "bootstrap"],
        cwd=ROOT,
        env=person.environment(AWS_ENDPOINT_URL=silent_server),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    # Its first line of progress comes after two seconds of waiting: by then it is in the call.
    assert "a-state-bucket" in process.stderr.readline()

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=100)

    assert (process.returncode, out, err) == (130, "", "ops: interrupted\n")


@pytest.mark.parametrize(
    "arguments",
    [["init", "--help"], ["bootstrap", "--check"], ["bootstrap", "--check", "--json"], ["docter", "--json"]],
)
def test_a_reader_that_goes_away_is_no_failure_to_talk_about(person: Person, arguments: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "ops", *arguments],
            cwd=ROOT,
            env=person.environment(),
            stdin=subprocess.DEVNULL,
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            timeout=100,
            check=False,
        )
    finally:
        os.close(write)

    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "BrokenPipe" not in ended.stderr


@pytest.mark.system
@pytest.mark.parametrize(
    ("output", "said"), [(">&-", "standard output is closed"), (">/dev/full", "No space left on device")]
)
def test_output_that_cannot_be_written_is_one_line(person: Person, output: str, said: str) -> None:
    command = f"{shlex.quote(sys.executable)} -m ops cost --json {output}"
    ended = subprocess.run(
        ["sh", "-c", command], cwd=ROOT, env=person.environment(), capture_output=True, text=True, timeout=100
    )

    assert ended.returncode == 1
    assert said in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


@pytest.mark.system
def test_colours_are_for_terminals_only(person: Person) -> None:
    piped = person.ops("doctor", "train-model-dev")
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "ops", "doctor", "train-model-dev"],
        cwd=ROOT,
        env=person.environment(TERM="xterm-256color"),
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=subprocess.DEVNULL,
    )
    os.close(follower)
    shown = b""
    try:
        while chunk := os.read(leader, 65536):
            shown += chunk
    except OSError:  # Linux says so when the other side is closed
        pass
    os.close(leader)
    process.wait(timeout=100)

    assert "\x1b[" not in piped.out
    assert b"\x1b[1;31mproblem\x1b[0m" in shown


def test_the_launcher_runs_this_project_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    venv = tmp_path / "a project" / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.setattr(set_up, "VENV", venv)
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "ops").mkdir(parents=True)
    (elsewhere / "ops" / "__main__.py").write_text("raise SystemExit('a stranger')", encoding="utf-8")

    set_up._write_launcher()

    launcher = venv / "bin" / "ops"
    assert len(launcher.read_text(encoding="utf-8").splitlines()) == 2
    # This Python finds its packages by itself, where the link does not.
    packages = os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))
    ended = subprocess.run(
        [launcher, "no such command", "--json"],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": packages},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (2, "ops: No such command 'no such command'. See: ops --help\n")
    assert json.loads(ended.stdout)["error"].startswith("No such command")


def test_the_launcher_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(set_up, "VENV", tmp_path)
    set_up._write_launcher()
    launcher = tmp_path / "bin" / "ops"
    os.utime(launcher, (1, 1))

    set_up._write_launcher()

    assert launcher.stat().st_mtime == 1
    launcher.write_text("something else", encoding="utf-8")
    set_up._write_launcher()
    assert "-m ops" in launcher.read_text(encoding="utf-8")
    assert os.access(launcher, os.X_OK)
