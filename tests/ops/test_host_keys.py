"""Host keys: what the console shows is what ssh takes, from the first contact on."""

import base64
import subprocess
import threading
from pathlib import Path

import pytest

from modules_equiv.settings import load_settings
from ops.core.session import Session
from ops.remote import host_keys
from ops.remote.hosts import MACHINES, Host
from tests.ops.console_support import console_with, consoles
from tests.ops.sshd_support import DEPLOYMENT, World, sh
from tests.ops.support import Finished

pytestmark = pytest.mark.system


def made(folder: Path, kind: str = "ed25519") -> str:
    """A new public key, as in /etc/ssh/ssh_host_*key.pub."""
    file = folder / f"key-{kind}-{len(list(folder.iterdir()))}"
    sh("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "root@ip-10-20-1-10", "-f", str(file))
    return file.with_name(f"{file.name}.pub").read_text().strip()


def bare(key: str) -> str:
    """Without the comment."""
    return " ".join(key.split()[:2])


class TestConsole:
    @pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
    def test_each_type(self, tmp_path: Path, kind: str) -> None:
        key = made(tmp_path, kind)
        assert host_keys.from_console(console_with(key)) == [bare(key)]

    def test_all_of_them_in_order(self, tmp_path: Path) -> None:
        keys = [made(tmp_path, kind) for kind in ("ecdsa", "ed25519", "rsa")]
        assert host_keys.from_console(console_with(*keys)) == [bare(key) for key in keys]

    def test_an_old_cloud_init_puts_its_name_before(self, tmp_path: Path) -> None:
        key = made(tmp_path)
        assert host_keys.from_console(console_with(f"ec2: {key}").replace("-----BEGIN", "ec2: -----BEGIN")) == [
            bare(key)
        ]

    def test_a_key_that_the_kernel_wrote_across_is_left_out(self, tmp_path: Path) -> None:
        whole, broken = made(tmp_path), made(tmp_path, "rsa")
        across = f"{broken[:200]}[   24.1] EXT4-fs (nvme1n1): mounted\r\n{broken[200:]}"
        assert host_keys.from_console(console_with(across, whole)) == [bare(whole)]

    @pytest.mark.parametrize("length", [20, 40, 43, 60, 67])
    def test_a_key_that_was_cut_off_is_left_out(self, tmp_path: Path, length: int) -> None:
        """68 characters are a whole one."""
        kind, blob, _ = made(tmp_path).split()
        assert len(blob) == 68
        assert host_keys.from_console(console_with(f"{kind} {blob[:length]}")) == []

    def test_a_key_of_another_type_than_its_line_says_is_left_out(self, tmp_path: Path) -> None:
        _, blob, _ = made(tmp_path).split()
        assert host_keys.from_console(console_with(f"ssh-rsa {blob}")) == []
        longer = base64.b64encode(base64.b64decode(blob) + b"\0\0\0\1x").decode()
        assert host_keys.from_console(console_with(f"ssh-ed25519 {longer}")) == []

    def test_the_last_of_two(self, tmp_path: Path) -> None:
        old, new = made(tmp_path), made(tmp_path)
        assert host_keys.from_console(console_with(old) + console_with(new)) == [bare(new)]

    def test_nothing_outside_of_a_whole_block(self, tmp_path: Path) -> None:
        key = made(tmp_path)
        text = console_with(key)
        assert host_keys.from_console("") == []
        assert host_keys.from_console(text[: text.index("-----END SSH HOST KEY KEYS")]) == []
        assert host_keys.from_console(text[text.index("ssh-ed25519") :]) == []


class TestFirstContact:
    @pytest.fixture
    def home(self, world: World, tmp_path: Path) -> Path:
        """Of somebody who has the key and was never there."""
        folder = tmp_path / "a home"
        (folder / ".ssh").mkdir(parents=True, mode=0o700)
        key = folder / ".ssh" / world.key.name
        key.write_text(world.key.read_text())
        key.chmod(0o600)
        return folder

    @staticmethod
    def known(home: Path) -> Path:
        return home / ".ssh" / "ml-infra" / DEPLOYMENT / "known_hosts"

    @staticmethod
    def shown(world: World, name: str) -> str:
        """The key that the machine's sshd has."""
        return bare(sh("ssh-keygen", "-y", "-f", str(world.boxes[name].path("/etc/test-sshd/key"))))

    @staticmethod
    def go(world: World, home: Path, name: str = "metrics", **variables: str) -> Finished:
        return world.ops("ssh", name, "--json", "--", "echo there", HOME=str(home), **variables)

    def test_the_keys_on_the_consoles_are_taken_and_no_others(self, world: World, home: Path, tmp_path: Path) -> None:
        other = made(tmp_path, "ecdsa")
        texts = {
            world.ids["jump"]: console_with(self.shown(world, "jump")),
            world.ids["metrics"]: console_with(other, self.shown(world, "metrics")),
        }
        with consoles(world, texts) as endpoint:
            said = self.go(world, home, AWS_ENDPOINT_URL=endpoint)
        assert said.document["stdout"] == "there\n", said
        assert "on trust" not in said.err
        assert "Permanently added" not in said.document["stderr"]
        assert sorted(self.known(home).read_text().splitlines()) == sorted(
            [
                f"{world.ids['jump']} {self.shown(world, 'jump')}",
                f"{world.ids['metrics']} {bare(other)}",
                f"{world.ids['metrics']} {self.shown(world, 'metrics')}",
            ]
        )
        assert self.known(home).stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize("name", ["jump", "metrics"])
    def test_a_stranger_at_the_address_is_refused(self, world: World, home: Path, tmp_path: Path, name: str) -> None:
        texts = {world.ids[one]: console_with(self.shown(world, one)) for one in ("jump", "metrics")}
        texts[world.ids[name]] = console_with(made(tmp_path))
        with consoles(world, texts) as endpoint:
            said = self.go(world, home, AWS_ENDPOINT_URL=endpoint)
        assert said.status == 255
        assert "Host key verification failed" in said.document["stderr"]
        assert self.shown(world, name) not in self.known(home).read_text()

    def test_without_a_console_it_is_taken_on_trust_which_is_said_once(self, world: World, home: Path) -> None:
        said = self.go(world, home)
        assert said.document["stdout"] == "there\n", said
        trust = "trusting the host key of metrics, jump on first contact (the console output does not show it)"
        assert f"ops: {trust}\n" in said.err
        again = self.go(world, home)
        assert again.document["stdout"] == "there\n", again
        assert "first contact" not in again.err

    def test_without_the_right_to_see_the_console(self, world: World, home: Path) -> None:
        texts = {world.ids["metrics"]: None, world.ids["jump"]: console_with(self.shown(world, "jump"))}
        with consoles(world, texts) as endpoint:
            said = self.go(world, home, AWS_ENDPOINT_URL=endpoint)
        assert said.document["stdout"] == "there\n", said
        assert (
            "ops: trusting the host key of metrics on first contact "
            "(AWS refused GetConsoleOutput: UnauthorizedOperation)\n"
        ) in said.err

    def test_a_type_without_nitro(self, world: World, home: Path) -> None:
        """They refuse the latest console, and have the one of the start."""
        texts = {world.ids["jump"]: console_with(self.shown(world, "jump"))}
        with consoles(world, texts, latest=False) as endpoint:
            said = self.go(world, home, "jump", AWS_ENDPOINT_URL=endpoint)
        assert said.document["stdout"] == "there\n", said
        assert "on trust" not in said.err

    def test_what_was_known_stays(self, world: World, home: Path) -> None:
        self.known(home).parent.mkdir(parents=True)
        before = f"# mine\n{world.ids['jump']} {self.shown(world, 'jump')}\ni-0,i-1 ssh-ed25519 xyz"  # no line's end
        self.known(home).write_text(before)
        with consoles(world, {world.ids["metrics"]: console_with(self.shown(world, "metrics"))}) as endpoint:
            said = self.go(world, home, AWS_ENDPOINT_URL=endpoint)
        assert said.document["stdout"] == "there\n", said
        assert self.known(home).read_text() == f"{before}\n{world.ids['metrics']} {self.shown(world, 'metrics')}\n"

    def test_the_configuration_for_plain_ssh_too(self, world: World, home: Path, tmp_path: Path) -> None:
        with consoles(world, {world.ids["jump"]: console_with(self.shown(world, "jump"))}) as endpoint:
            said = world.ops("ssh-config", HOME=str(home), AWS_ENDPOINT_URL=endpoint)
        assert said.status == 0, said.err
        assert "ops: trusting the host key of worker, metrics on first contact" in said.err
        file = tmp_path / "config"
        file.write_text(said.out)
        checking = {
            name: next(
                line.split()[1]
                for line in sh("ssh", "-G", "-F", str(file), f"{DEPLOYMENT}-{name}").splitlines()
                if line.startswith("stricthostkeychecking ")
            )
            for name in ("jump", "worker", "metrics")
        }
        assert checking == {"jump": "true", "worker": "accept-new", "metrics": "accept-new"}
        way = ["ssh", "-F", str(file), "-o", "BatchMode=yes", f"{DEPLOYMENT}-jump", "echo there"]
        assert sh(*way) == "there\n"
        self.known(home).unlink()
        lost = subprocess.run(way, capture_output=True, text=True, check=False)
        assert lost.returncode == 255
        assert "Host key verification failed" in lost.stderr


def test_many_at_once_lose_no_line(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two commands that pin at the same moment: here they all have read the file before the first writes it."""
    key = bare(made(tmp_path))
    together = threading.Barrier(8)

    def on_console(_: object, __: str) -> list[str]:
        together.wait(60)
        return [key]

    monkeypatch.setattr(host_keys, "_on_console", on_console)
    folder = tmp_path / "home" / ".ssh" / "ml-infra" / DEPLOYMENT
    known_hosts = folder / "known_hosts"
    session = Session(load_settings(environ=world.environment), world.environment)

    def pin(number: int) -> None:
        host = Host(
            machine=MACHINES["jump"],
            deployment=DEPLOYMENT,
            instance_id=f"i-{number}",
            address="203.0.113.7",
            state="running",
        )
        host_keys.pin(session, [host], known_hosts)

    threads = [threading.Thread(target=pin, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(known_hosts.read_text().splitlines()) == [f"i-{number} {key}" for number in range(8)]
