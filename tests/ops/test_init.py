"""ops init: what is asked, what is written, and that nothing else in the file is touched."""

import re
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pexpect
import pytest

from embedded_aws import control
from modules_equiv.settings import DEFAULT_PATH, load_settings
from ops.account.interview import ADDRESSES, BUCKET, KEY_PAIR, NAME, REGION, Interview, proposed_bucket
from ops.account.own_address import Seen, own_address, seen_address
from ops.account.settings_file import SettingsFile
from ops.core.environment import ROOT
from ops.core.errors import OpsError
from tests.ops.aws_support import SETTINGS, Person, clear

FLAGS = ("--region", "eu-west-1", "--name", "my-ml", "--key-pair", "my key", "--address", "198.51.100.9")
NOBODY = "http://127.0.0.1:9"  # the discard port: nothing listens


@pytest.fixture
def person(empty_endpoint: control.Endpoint, tmp_path: Path) -> Person:
    """Somebody with a fresh copy of the project's settings.toml, which cannot reach the internet."""
    clear(empty_endpoint)
    person = Person(tmp_path, empty_endpoint, {"https_proxy": NOBODY})
    shutil.copyfile(DEFAULT_PATH, person.settings)
    return person


def changed_lines(before: str, after: str) -> list[tuple[str, str]]:
    old, new = before.split("\n"), after.split("\n")
    assert len(old) == len(new)
    return [(was, now) for was, now in zip(old, new, strict=True) if was != now]


# --- the command


def test_flags_alone_are_enough_and_only_their_lines_change(person: Person) -> None:
    before = person.settings.read_text(encoding="utf-8")

    ended = person.ops("init", *FLAGS, "--bucket", "my-states", "--json")

    assert ended.status == 0
    assert ended.document["settings"] == {
        "deployment.region": "eu-west-1",
        "deployment.name": "my-ml",
        "access.ssh_keypair_name": "my key",
        "access.deployer_cidrs": ["198.51.100.9/32"],
        "state.bucket": "my-states",
    }
    assert changed_lines(before, person.settings.read_text(encoding="utf-8")) == [
        ('#name = "ml-core"', 'name = "my-ml"'),
        ('#region = "us-east-1"', 'region = "eu-west-1"'),
        ('#deployer_cidrs = ["203.0.113.7/32"]', 'deployer_cidrs = ["198.51.100.9/32"]'),
        ('#ssh_keypair_name = "my-key"', 'ssh_keypair_name = "my key"'),
        ('#bucket = "my-terraform-state"', 'bucket = "my-states"'),
    ]
    settings = load_settings(person.settings, {})
    assert (settings.deployment.region, settings.state.region) == ("eu-west-1", "eu-west-1")


def test_a_second_run_changes_nothing(person: Person) -> None:
    person.ops("init", *FLAGS, "--bucket", "my-states")
    first = person.settings.read_bytes()

    ended = person.ops("init", *FLAGS, "--bucket", "my-states")

    assert ended.status == 0
    assert "nothing to change" in ended.out
    assert person.settings.read_bytes() == first


def test_the_bucket_is_proposed_from_the_account(person: Person) -> None:
    ended = person.ops("init", *FLAGS, "--yes", "--json")

    assert ended.document["settings"]["state.bucket"] == "my-ml-state-123456789012"


def test_without_credentials_the_proposed_bucket_ends_at_random(person: Person) -> None:
    names = []
    for file in ("one.toml", "two.toml"):
        ended = person.ops(
            "init",
            *FLAGS,
            "--yes",
            "--json",
            ML_INFRA_SETTINGS=str(person.home / file),
            AWS_ACCESS_KEY_ID=None,
            AWS_SECRET_ACCESS_KEY=None,
        )
        names.append(ended.document["settings"]["state.bucket"])

    assert all(re.fullmatch(r"my-ml-state-[0-9a-f]{8}", name) for name in names)
    assert names[0] != names[1]


def test_the_only_key_pair_of_the_region_is_proposed(person: Person) -> None:
    person.aws("ec2", "eu-west-1").create_key_pair(KeyName="the-one")

    ended = person.ops("init", "--region", "eu-west-1", "--address", "198.51.100.9", "--yes", "--json")

    assert ended.document["settings"]["access.ssh_keypair_name"] == "the-one"


def test_without_a_key_pair_it_says_how_to_make_one(person: Person) -> None:
    ended = person.ops("init", *FLAGS[:4], "--address", "198.51.100.9", "--yes")

    assert ended.status == 2
    assert "pass --key-pair" in ended.err
    assert "aws ec2 create-key-pair --region eu-west-1" in ended.err


def test_with_two_key_pairs_it_does_not_choose(person: Person) -> None:
    for name in ("one", "two"):
        person.aws("ec2").create_key_pair(KeyName=name)
    before = person.settings.read_bytes()

    ended = person.ops("init", "--address", "198.51.100.9", "--yes")

    assert ended.status == 2
    assert "access.ssh_keypair_name is not set" in ended.err
    assert "pass --key-pair" in ended.err
    assert person.settings.read_bytes() == before


def test_without_an_answer_about_the_address_the_flag_is_named(person: Person) -> None:
    before = person.settings.read_bytes()

    ended = person.ops("init", "--key-pair", "k", "--yes")

    assert ended.status == 1
    assert ended.said.startswith("ops: https://checkip.amazonaws.com does not answer")
    assert "--address 203.0.113.7" in ended.err
    assert person.settings.read_bytes() == before


def test_without_a_terminal_and_without_flags_it_asks_nothing(person: Person) -> None:
    ended = person.ops("init", stdin="my-key\n")

    assert ended.status == 2
    assert "no terminal to ask on: pass --key-pair" in ended.err


def test_another_value_is_not_replaced_without_force(person: Person) -> None:
    person.ops("init", *FLAGS, "--bucket", "my-states")
    before = person.settings.read_bytes()

    refused = person.ops("init", "--bucket", "other-states", "--yes")

    assert refused.status == 1
    assert "state.bucket is my-states in " in refused.err
    assert "--force replaces it with other-states" in refused.err
    assert person.settings.read_bytes() == before

    forced = person.ops("init", "--bucket", "other-states", "--force", "--json")

    assert forced.document["outcomes"]["state.bucket"] == "changed"
    assert load_settings(person.settings, {}).state.bucket == "other-states"
    assert changed_lines(before.decode(), person.settings.read_text(encoding="utf-8")) == [
        ('bucket = "my-states"', 'bucket = "other-states"')
    ]


@pytest.mark.parametrize(
    ("flag", "value", "reason"),
    [
        ("--region", "eu-west-9", "Did you mean eu-west-3?"),
        ("--name", "My-ML", "start with a letter"),
        ("--key-pair", "key.pem", "looks like a file"),
        ("--key-pair", "${7 * 6}", "contains ${, which Terraform would evaluate as code"),
        ("--address", "0.0.0.0/0", "opens SSH to the whole internet"),
        ("--address", "2001:db8::1", "the VPC has IPv4 only"),
        ("--bucket", "My_Bucket", "Did you mean my-bucket?"),
    ],
)
def test_a_flag_is_checked_like_the_setting(person: Person, flag: str, value: str, reason: str) -> None:
    before = person.settings.read_bytes()

    ended = person.ops("init", *FLAGS, "--bucket", "my-states", flag, value)

    assert ended.status == 2
    assert f"{flag} {value}: " in ended.err
    assert reason in ended.err
    assert person.settings.read_bytes() == before


def test_what_is_wrong_elsewhere_in_the_file_leaves_it_as_it_was(person: Person) -> None:
    text = person.settings.read_text(encoding="utf-8").replace('#az = ""', 'az = "us-east-1a"')
    person.write(text)

    ended = person.ops("init", *FLAGS, "--bucket", "my-states")

    assert ended.status == 1
    assert "us-east-1a is a zone of us-east-1, but the region is eu-west-1" in " ".join(ended.err.split())
    assert person.settings.name in " ".join(ended.err.split())
    assert person.settings.read_text(encoding="utf-8") == text
    assert [file.name for file in person.home.iterdir() if file.name.startswith(".my")] == []


def test_a_file_that_does_not_exist_is_made(person: Person) -> None:
    file = person.home / "new folder" / "new.toml"

    ended = person.ops("init", *FLAGS, "--bucket", "my-states", ML_INFRA_SETTINGS=str(file))

    assert ended.status == 0
    assert load_settings(file, {}).access.ssh_keypair_name == "my key"


def test_a_file_that_is_no_toml_is_not_touched(person: Person) -> None:
    person.write("[state\n")

    ended = person.ops("init", *FLAGS, "--bucket", "my-states")

    assert ended.status == 1
    assert "is not TOML" in ended.err
    assert person.settings.read_text(encoding="utf-8") == "[state\n"


def test_a_folder_that_takes_no_files_is_told(person: Person) -> None:
    (person.home / "file").write_text("", encoding="utf-8")

    ended = person.ops("init", *FLAGS, "--bucket", "b-s", ML_INFRA_SETTINGS=str(person.home / "file" / "settings.toml"))

    assert ended.status == 1
    assert ended.err.startswith("ops: ")
    assert "Traceback" not in ended.err


def test_a_variable_that_wins_over_the_file_is_told(person: Person) -> None:
    ended = person.ops("init", *FLAGS, "--bucket", "my-states", "--json", ML_INFRA_STATE__BUCKET="another-one")

    assert ended.document["remarks"] == ["ML_INFRA_STATE__BUCKET is set in this shell and overrides the file."]


def asked(person: Person, *arguments: str) -> "pexpect.spawn[str]":
    return pexpect.spawn(
        sys.executable,
        ["-m", "ops", "init", *arguments],
        cwd=str(ROOT),
        env=person.environment(TERM="dumb"),
        encoding="utf-8",
        timeout=100,
        echo=False,
        dimensions=(40, 80),
    )


def test_a_person_is_asked_and_asked_again(person: Person) -> None:
    person.aws("ec2", "eu-west-1").create_key_pair(KeyName="mine")
    child = asked(person)

    child.expect(r"AWS region \[us-east-1\]: ")
    child.sendline("eu-wst-1")
    child.expect(r"Did you mean eu-west-1\?")
    child.expect(r"AWS region \[us-east-1\]: ")
    child.sendline("eu-west-1")
    child.expect(r"Name of this deployment \[ml-core\]: ")
    child.sendline("")
    child.expect(r"EC2 key pair \[mine\]: ")
    child.sendline("")
    child.expect("does not answer")
    child.expect("Your public address: ")
    child.sendline("198.51.100.9, 192.0.2.0/24")
    child.expect(r"state \[ml-core-state-123456789012\]: ")
    child.sendline("")
    child.expect(pexpect.EOF)
    child.close()

    assert child.exitstatus == 0
    settings = load_settings(person.settings, {})
    assert settings.deployment.region == "eu-west-1"
    assert settings.deployment.name == "ml-core"
    assert settings.access.deployer_cidrs == ("198.51.100.9/32", "192.0.2.0/24")
    assert settings.access.ssh_keypair_name == "mine"
    assert settings.state.bucket == "ml-core-state-123456789012"


def test_a_person_may_keep_what_is_set(person: Person) -> None:
    person.ops("init", *FLAGS, "--bucket", "my-states")
    before = person.settings.read_bytes()
    child = asked(person, "--bucket", "other-states")

    for prompt in (r"\[eu-west-1\]: ", r"\[my-ml\]: ", r"\[my key\]: ", r"\[198.51.100.9/32\]: "):
        child.expect(prompt)
        child.sendline("")
    child.expect("state.bucket is my-states")
    child.expect(r"Replace it with other-states\? \[y/N\]: ")
    child.sendline("n")
    child.expect("nothing to change")
    child.expect(pexpect.EOF)
    child.close()

    assert child.exitstatus == 0
    assert person.settings.read_bytes() == before


def test_what_the_file_holds_is_shown_and_not_obeyed(person: Person) -> None:
    regional = '[deployment]\nregion = "us-east-1"\nname = "ml-core"\n'
    person.write(regional + SETTINGS.replace('"a-key"', '"\\u001b[2J\\u202ekey"'))

    assert "kept  access.ssh_keypair_name  \\u001b[2J\\u202ekey\n" in person.ops("init").text
    child = asked(person)
    for answer in ("AWS region [us-east-1]: ", "Name of this deployment [ml-core]: "):
        child.expect_exact(answer)
        child.sendline("")
    child.expect_exact("EC2 key pair [\\u001b[2J\\u202ekey]: ")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()


def test_ctrl_c_while_asked_writes_nothing(person: Person) -> None:
    before = person.settings.read_bytes()
    child = asked(person)

    child.expect("AWS region")
    child.sendintr()
    child.expect("ops: interrupted")
    child.expect(pexpect.EOF)
    child.close()

    assert child.exitstatus == 130
    assert person.settings.read_bytes() == before


# --- the file


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('[state]\n#bucket = "x"\n', '[state]\nbucket = "new"\n'),
        ('[state]\nbucket = "old" # why\n', '[state]\nbucket = "new" # why\n'),
        ("[state]\n  bucket='old'\n", '[state]\n  bucket="new"\n'),
        ('[state]\r\n#bucket = "x"\r\nprefix = "p"\r\n', '[state]\r\nbucket = "new"\r\nprefix = "p"\r\n'),
        ('[state]\n#bucket = "x"', '[state]\nbucket = "new"'),
        ("[state]", '[state]\nbucket = "new"\n'),
        ('[state]\nprefix = "p"\n', '[state]\nbucket = "new"\nprefix = "p"\n'),
        ("", '[state]\nbucket = "new"\n'),
        ("# only\n", '# only\n\n[state]\nbucket = "new"\n'),
        ('state.bucket = "old"\n', 'state.bucket = "new"\n'),
        ('["state"]\n"bucket" = "old"\n', '["state"]\n"bucket" = "new"\n'),
        # What only looks like the key: in prose, in another section, in a string, in a list over lines.
        ('[state]\n# bucket = "prose"\n#bucket = "x"\n', '[state]\n# bucket = "prose"\nbucket = "new"\n'),
        ('[other]\n#bucket = "x"\n[state]\n#bucket = "x"\n', '[other]\n#bucket = "x"\n[state]\nbucket = "new"\n'),
        (
            '[a]\nb = """\n[state]\n#bucket = "x"\n"""\n',
            '[a]\nb = """\n[state]\n#bucket = "x"\n"""\n\n[state]\nbucket = "new"\n',
        ),
        (
            "[a]\nb = [ # [state]\n  \"]\", # ]\n  '''[state]\nbucket=1''',\n]\n[state]\n#bucket = \"x\"\n",
            "[a]\nb = [ # [state]\n  \"]\", # ]\n  '''[state]\nbucket=1''',\n]\n[state]\nbucket = \"new\"\n",
        ),
        ('[a]\nb = "\\"[state]"\n[state]\n#bucket=1\n', '[a]\nb = "\\"[state]"\n[state]\nbucket = "new"\n'),
        ("[state.more]\nx = 1\n[state]\n#bucket=1\n", '[state.more]\nx = 1\n[state]\nbucket = "new"\n'),
    ],
)
def test_only_the_one_key_changes(before: str, after: str) -> None:
    file = SettingsFile(Path("settings.toml"), before)

    assert file.with_value(("state", "bucket"), "new").text == after


@pytest.mark.parametrize("text", ['state = {bucket = "old"}\n', "state = {}\n", "state = 1\n", "[[state]]\nx = 1\n"])
def test_what_cannot_be_changed_safely_is_left_to_the_person(text: str) -> None:
    file = SettingsFile(Path("settings.toml"), text)

    with pytest.raises(OpsError, match=r'write bucket = "new" under \[state\]'):
        file.with_value(("state", "bucket"), "new")


@pytest.mark.parametrize(
    "written",
    [
        '[\n  "203.0.113.7/32", # home\n  "198.51.100.9/32",\n]',
        '[\n  # home\n  "203.0.113.7/32",\n]',
        '["203.0.113.7/32"\n# more to come\n]',
    ],
)
def test_a_comment_inside_a_list_is_not_lost(person: Person, written: str) -> None:
    text = SETTINGS.replace('["203.0.113.7/32"]', written)
    person.write(text)

    ended = person.ops("init", "--address", "192.0.2.1", "--force", "--yes", "--json")

    assert ended.status == 1
    assert 'write deployer_cidrs = ["192.0.2.1/32"] under [access]' in ended.document["error"]
    assert person.settings.read_text(encoding="utf-8") == text


def test_a_list_over_lines_without_a_comment_is_changed() -> None:
    before = '[access]\ndeployer_cidrs = [\n  "a#b",\n  \'c#d\',\n] # mine\nssh_keypair_name = "k"\n'

    changed = SettingsFile(Path("settings.toml"), before).with_value(("access", "deployer_cidrs"), ["e"])

    assert changed.text == '[access]\ndeployer_cidrs = ["e"] # mine\nssh_keypair_name = "k"\n'


def test_a_value_needs_no_care_with_quotes() -> None:
    file = SettingsFile(Path("settings.toml"), "[access]\n#ssh_keypair_name = 1\n")

    changed = file.with_value(("access", "ssh_keypair_name"), 'a "quoted" \\ key')

    assert changed.get(("access", "ssh_keypair_name")) == 'a "quoted" \\ key'


def test_a_byte_order_mark_is_read_over_and_stays(tmp_path: Path) -> None:
    """Windows' editors put it first. It loads, so it can be changed as well."""
    file = tmp_path / "settings.toml"
    before = b'[access]\r\ndeployer_cidrs = ["203.0.113.7/32"]\r\nssh_keypair_name = "k"\r\n'
    file.write_bytes(b"\xef\xbb\xbf" + before)

    SettingsFile.read(file).with_value(("state", "bucket"), "my-states").save()

    after = file.read_bytes()
    assert after.startswith(b"\xef\xbb\xbf" + before)
    assert after.count(b"\xef\xbb\xbf") == 1
    assert load_settings(file, {}).state.bucket == "my-states"


def test_a_link_stays_a_link_and_the_file_keeps_its_mode(tmp_path: Path) -> None:
    real, link = tmp_path / "real.toml", tmp_path / "link.toml"
    real.write_text('[access]\ndeployer_cidrs = ["203.0.113.7/32"]\nssh_keypair_name = "k"\n', encoding="utf-8")
    real.chmod(0o640)
    link.symlink_to(real)

    SettingsFile.read(link).with_value(("state", "bucket"), "my-states").save()

    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert load_settings(real, {}).state.bucket == "my-states"


@pytest.mark.parametrize(
    ("deployment", "name"),
    [
        ("ml-core", "ml-core-state-7"),
        ("sthree-x", "tf-sthree-x-state-7"),
        ("amzn-s3-demo-x", "tf-amzn-s3-demo-x-state-7"),
    ],
)
def test_a_proposed_bucket_is_one_that_s3_accepts(deployment: str, name: str) -> None:
    assert proposed_bucket(deployment, "7") == name


# --- the address


@contextmanager
def service(body: bytes, status: int = 200) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_address_is_what_the_service_says() -> None:
    with service(b"198.51.100.9\n") as url:
        assert own_address(url) == "198.51.100.9"


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"<html>log in to the hotel</html>", 200, "instead of your public address"),
        (b"", 200, "instead of your public address"),
        (b"\xff\xfe", 200, "instead of your public address"),
        (b"down", 503, "answered 503"),
        (b"2001:db8::1", 200, "IPv6"),
        (b"192.168.1.1", 200, "instead of your public address. 192.168.1.1/32 is not public"),
    ],
)
def test_any_other_answer_is_told_with_the_way_out(body: bytes, status: int, reason: str) -> None:
    with service(body, status) as url, pytest.raises(OpsError, match=reason) as refused:
        own_address(url)

    assert "--address" in str(refused.value)


def test_an_address_that_came_through_a_proxy_is_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with service(b"198.51.100.9\n") as url:
        assert seen_address(url).doubt is None

        monkeypatch.setenv("http_proxy", url.replace("//", "//me:secret@"))
        seen = seen_address("http://checkip.invalid/")
        assert seen.address == "198.51.100.9"
        assert seen.doubt is not None
        assert seen.doubt.problem.startswith(
            f"198.51.100.9 may be the address of the proxy {url[7:-1]}, which the request"
        )
        assert "curl --noproxy '*' https://checkip.amazonaws.com" in seen.doubt.fix

        monkeypatch.setenv("http_proxy", NOBODY)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert seen_address(url).doubt is None


def test_a_proposal_that_came_through_a_proxy_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = Seen(address="198.51.100.9", proxy="proxy.example:3128")
    monkeypatch.setattr("ops.account.interview.seen_address", lambda: seen)
    file = SettingsFile(tmp_path / "settings.toml", "")
    given = {REGION: ["eu-west-1"], NAME: ["my-ml"], KEY_PAIR: ["my key"], BUCKET: ["my-states"]}
    interview = Interview(file=file, given=given, take_proposals=True, replace=False)

    interview.run()

    assert interview.value(ADDRESSES) == ["198.51.100.9/32"]
    assert interview.remarks == [str(seen.doubt)]


def test_what_is_no_http_is_told_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(OpsError, match=r"does not answer.*220 mail.example ESMTP") as refused:
            own_address(f"http://127.0.0.1:{server.getsockname()[1]}/")
        thread.join()

    assert "--address" in str(refused.value)


def test_no_answer_is_told_with_the_way_out() -> None:
    with pytest.raises(OpsError, match="does not answer") as refused:
        own_address(NOBODY)

    assert "--address" in str(refused.value)
