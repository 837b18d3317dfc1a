"""`ops ssh` and `ops ssh-config`: the configuration as the real ssh reads it, and logins through a real jump host."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from embedded_aws import control
from ops.core import progress
from ops.core.environment import ROOT
from ops.deployment import machines
from ops.remote.hosts import MACHINES
from tests.ops import sshd_support as support
from tests.ops.sshd_support import DEPLOYMENT, JUMP, METRICS, WORKER, World, sh
from tests.ops.support import wait_for
from tests.unit.synthesis import synthesize

pytestmark = pytest.mark.system

ACCOUNT = "account-test"


@pytest.fixture(scope="module")
def account(endpoint: control.Endpoint, tmp_path_factory: pytest.TempPathFactory) -> World:
    """No machines behind the addresses."""
    return support.account(endpoint, tmp_path_factory.mktemp("an account"), ACCOUNT)  # folders have spaces


@pytest.fixture
def home(account: World, tmp_path: Path) -> Path:
    """Another home, which has the key and nothing else."""
    folder = tmp_path / "a home"
    (folder / ".ssh").mkdir(parents=True, mode=0o700)
    (folder / ".ssh" / account.key.name).write_text(account.key.read_text())
    return folder


def resolved(file: Path, alias: str) -> dict[str, str]:
    """The options with which ssh would go to the alias."""
    lines = sh("ssh", "-G", "-F", str(file), alias).splitlines()
    return dict(line.split(" ", 1) for line in lines if " " in line)


class TestConfiguration:
    @pytest.fixture
    def file(self, account: World, tmp_path: Path) -> Path:
        said = account.ops("ssh-config")
        assert said.status == 0, said.err
        file = tmp_path / "config"
        file.write_text(said.out)
        return file

    @pytest.mark.parametrize(("name", "address"), [("worker", WORKER), ("metrics", METRICS)])
    def test_inner_machines_through_the_jump_host(self, account: World, file: Path, name: str, address: str) -> None:
        options = resolved(file, f"{ACCOUNT}-{name}")
        assert options["hostname"] == address
        assert options["hostkeyalias"] == account.ids[name]
        assert options["proxyjump"] == f"{ACCOUNT}-jump"

    def test_the_jump_host_directly(self, account: World, file: Path) -> None:
        options = resolved(file, f"{ACCOUNT}-jump")
        assert options["hostname"] == support.public_address(account)
        assert options["hostkeyalias"] == account.ids["jump"]
        assert "proxyjump" not in options

    @pytest.mark.parametrize("name", ["jump", "worker", "metrics"])
    def test_what_all_share(self, account: World, file: Path, name: str) -> None:
        options = resolved(file, f"{ACCOUNT}-{name}")
        assert options["user"] == "ubuntu"
        assert options["identityfile"] == str(account.key)
        assert options["identitiesonly"] == "yes"
        assert options["userknownhostsfile"] == str(account.home / ".ssh" / "ml-infra" / ACCOUNT / "known_hosts")
        assert options["stricthostkeychecking"] == "accept-new"
        assert options["serveraliveinterval"] == "15"

    def test_other_hosts_are_left_alone(self, account: World, file: Path) -> None:
        options = resolved(file, "example.com")
        assert options["hostname"] == "example.com"
        assert "accept-new" not in options.values()
        assert str(account.key) not in options.values()

    def test_through_session_manager_only_what_it_knows(self, account: World, tmp_path: Path) -> None:
        said = account.ops(
            "ssh-config", "--via", "ssm", PATH=f"{support.session_manager(tmp_path)}:{os.environ['PATH']}"
        )
        assert said.status == 0, said.err
        file = tmp_path / "config"
        file.write_text(said.out)

        assert resolved(file, f"{ACCOUNT}-worker")["proxycommand"] == (
            f"aws ssm start-session --region us-east-1 --target {account.ids['worker']} "
            "--document-name AWS-StartSSHSession --parameters portNumber=%p"
        )
        for name in ("jump", "metrics"):
            assert f"# {name} is left out: its role does not allow Session Manager" in said.out
            assert resolved(file, f"{ACCOUNT}-{name}")["hostname"] == f"{ACCOUNT}-{name}"

    def test_as_json(self, account: World) -> None:
        document = account.ops("ssh-config", "--json").document
        hosts = {host["alias"]: host for host in document["hosts"]}
        assert set(hosts) == {f"{ACCOUNT}-{name}" for name in ("jump", "worker", "metrics")}
        worker = hosts[f"{ACCOUNT}-worker"]
        assert (worker["instance"], worker["address"], worker["state"]) == (account.ids["worker"], WORKER, "running")
        assert f"Host {ACCOUNT}-worker\n" in document["config"]
        assert document["written"] is None

    def test_what_is_not_deployed_is_said_in_a_comment(self, account: World) -> None:
        account.put_state("train-model", {}, resources=0)
        try:
            said = account.ops("ssh-config")
        finally:
            account.put_state("train-model", {"worker_ip_addr": WORKER})
        assert said.status == 0
        assert f"Host {ACCOUNT}-worker" not in said.out
        assert "# worker is left out: train-model is not deployed: cdktf deploy train-model" in said.out

    def test_nothing_deployed_is_an_error(self, account: World) -> None:
        said = account.ops("ssh-config", ML_INFRA_DEPLOYMENT__NAME="nobody")
        assert said.status == 1
        assert "no machine is reachable: jump: mlcore is not deployed" in said.err
        assert "cdktf deploy mlcore" in said.err
        assert said.out == ""

    def test_a_stopped_jump_host_has_no_address_that_could_be_written(self, account: World, tmp_path: Path) -> None:
        """Terraform's state has one still, which may be somebody else's by now."""
        old = support.public_address(account)
        path = f"{support.session_manager(tmp_path)}:{os.environ['PATH']}"
        ec2 = account.aws("ec2")
        ec2.stop_instances(InstanceIds=[account.ids["jump"]])
        try:
            said = account.ops("ssh-config")
            through_ssm = account.ops("ssh-config", "--via", "ssm", "--json", PATH=path).document
            refused = account.ops("ssh", "jump", "--json", "--", "true")
        finally:
            ec2.start_instances(InstanceIds=[account.ids["jump"]])
        start = f"aws ec2 start-instances --region us-east-1 --instance-ids {account.ids['jump']}"
        assert said.status == 1
        assert said.out == ""
        assert f"jump: jump is stopped ({account.ids['jump']}): {start}" in " ".join(said.err.split())
        assert "worker: it is behind the jump host" in " ".join(said.err.split())

        assert [host["machine"] for host in through_ssm["hosts"]] == ["worker"]
        assert f"# jump is left out: jump is stopped ({account.ids['jump']}): {start}\n" in through_ssm["config"]
        assert set(through_ssm["left_out"]) == {"jump", "metrics"}
        assert refused.status == 1
        assert "jump is stopped" in refused.err
        for text in (said.err, through_ssm["config"], refused.err):
            assert old not in text
            assert account.jump_address not in text

    def test_a_jump_host_that_came_back_elsewhere(self, account: World) -> None:
        """EC2 gives another public address after a stop; Terraform's state has the old one."""
        ec2 = account.aws("ec2")
        for _ in range(5):  # moto draws them by lot
            old = support.public_address(account)
            ec2.stop_instances(InstanceIds=[account.ids["jump"]])
            ec2.start_instances(InstanceIds=[account.ids["jump"]])
            new = support.public_address(account)
            if new not in (old, account.jump_address):
                break

        (jump,) = [host for host in account.ops("ssh-config", "--json").document["hosts"] if host["machine"] == "jump"]
        assert (jump["address"], jump["moved_from"]) == (new, account.jump_address)

    def test_without_a_private_key_the_public_one_picks_the_agents(self, account: World, home: Path) -> None:
        (home / ".ssh" / account.key.name).unlink()
        said = account.ops("ssh-config", HOME=str(home))
        assert said.status == 0, said.err
        picked = home / ".ssh" / "ml-infra" / ACCOUNT / "key.pub"
        assert f'IdentityFile "{picked}"' in said.out
        assert picked.read_text().split()[:2] == sh("ssh-keygen", "-y", "-f", str(account.key)).split()[:2]

    def test_a_key_of_ones_own(self, account: World, tmp_path: Path) -> None:
        key = tmp_path / "another key"
        key.write_text(account.key.read_text())
        assert f'IdentityFile "{key}"' in account.ops("ssh-config", "--key", str(key)).out

        said = account.ops("ssh-config", "--key", str(tmp_path / "nothing"))
        assert said.status == 1
        assert f"{tmp_path / 'nothing'} does not exist" in said.err.replace("\n", "")

    def test_the_table_follows_the_stacks(self) -> None:
        """Which machine has which output, and which roles Session Manager accepts."""
        stacks = synthesize()
        for machine in MACHINES.values():
            stack = stacks[machine.stack]
            assert machine.output in stack["output"]
            attached = [
                one["policy_arn"] for one in stack["resource"].get("aws_iam_role_policy_attachment", {}).values()
            ]
            assert any("AmazonSSMManagedInstanceCore" in arn for arn in attached) == machine.ssm
            (instance,) = stack["resource"]["aws_instance"].values()
            assert instance["associate_public_ip_address"] == machine.public


class TestWrite:
    OWN = b"# mine\nHost example\n\tUser me # \xe9\n"

    def test_all_ssh_knows_the_machines_and_nothing_is_lost(self, account: World, home: Path) -> None:
        own = home / ".ssh" / "config"
        own.write_bytes(self.OWN)
        own.chmod(0o644)
        first = account.ops("ssh-config", "--write", "--yes", HOME=str(home))
        assert first.status == 0, first.err
        second = account.ops("ssh-config", "--write", "--yes", HOME=str(home))
        assert second.status == 0

        include, rest = own.read_bytes().split(b"\n", 1)
        assert include == b'Include "%s/.ssh/ml-infra/*/config"' % str(home).encode()
        assert rest == self.OWN
        assert own.stat().st_mode & 0o777 == 0o644
        assert resolved(own, f"{ACCOUNT}-worker")["hostkeyalias"] == account.ids["worker"]
        assert resolved(own, "example")["user"] == "me"
        written = home / ".ssh" / "ml-infra" / ACCOUNT / "config"
        assert written.stat().st_mode & 0o777 == 0o600
        assert written.parent.stat().st_mode & 0o777 == 0o700

    def test_the_names_of_another_regions_machines_are_not_taken_unsaid(self, account: World, home: Path) -> None:
        assert account.ops("ssh-config", "--write", "--yes", HOME=str(home)).status == 0
        written = home / ".ssh" / "ml-infra" / ACCOUNT / "config"
        written.write_text(written.read_text().replace("(us-east-1)", "(eu-west-1)", 1))

        said = account.ops("ssh-config", "--write", HOME=str(home))

        assert said.status == 1
        assert f"it belongs to {ACCOUNT} in eu-west-1, whose machines then lose their ssh names" in " ".join(
            said.err.split()
        )

    def test_a_first_configuration(self, account: World, home: Path) -> None:
        assert account.ops("ssh-config", "--write", "--yes", HOME=str(home)).status == 0
        own = home / ".ssh" / "config"
        assert own.stat().st_mode & 0o777 == 0o600
        assert resolved(own, f"{ACCOUNT}-metrics")["hostname"] == METRICS

    def test_a_link_to_dotfiles_stays_one(self, account: World, home: Path, tmp_path: Path) -> None:
        dotfile = tmp_path / "dotfiles"
        dotfile.write_bytes(self.OWN)
        (home / ".ssh" / "config").symlink_to(dotfile)
        assert account.ops("ssh-config", "--write", "--yes", HOME=str(home)).status == 0
        assert (home / ".ssh" / "config").is_symlink()
        assert dotfile.read_bytes().endswith(self.OWN)
        assert dotfile.read_bytes().startswith(b"Include ")

    def test_nobody_to_ask(self, account: World, home: Path) -> None:
        said = account.ops("ssh-config", "--write", HOME=str(home))
        assert said.status == 1
        assert "Nothing was changed: pass --yes" in said.err.replace("\n", " ")
        assert not (home / ".ssh" / "config").exists()

    @pytest.mark.parametrize(("answer", "status"), [("n", 1), ("y", 0)])
    def test_it_asks(self, account: World, home: Path, answer: str, status: int) -> None:
        child = pexpect.spawn(
            sys.executable,
            ["-m", "ops", "ssh-config", "--write"],
            cwd=str(ROOT),
            env={**account.environment, "HOME": str(home), "TERM": "xterm"},
            timeout=60,
            encoding="utf-8",
        )
        child.expect("Continue")
        assert not (home / ".ssh" / "config").exists()
        child.sendline(answer)
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == status
        assert (home / ".ssh" / "config").exists() == (status == 0)

    def test_a_configuration_that_cannot_be_read(self, account: World, home: Path) -> None:
        (home / ".ssh" / "config").mkdir()
        said = account.ops("ssh-config", "--write", "--yes", HOME=str(home))
        assert said.status == 1
        assert "cannot be read: Is a directory" in said.err.replace("\n", " ")


class TestRefusedBeforeSsh:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["ssh", "notebook"], "the notebook has no SSH: ops notebook opens its Jupyter"),
            (["tunnel", "notebook"], "the notebook needs no tunnel: ops notebook opens its Jupyter"),
            (["ssh", "metrik"], "there is no machine 'metrik': one of jump, worker, metrics"),
            (["ssh", "worker", "--json"], "--json needs a command"),
        ],
    )
    def test_a_wrong_command_line(self, account: World, arguments: list[str], message: str) -> None:
        said = account.ops(*arguments)
        assert said.status == 2
        assert message in said.err.replace("\n", " ")

    def test_a_stopped_worker(self, account: World) -> None:
        ec2 = account.aws("ec2")
        ec2.stop_instances(InstanceIds=[account.ids["worker"]])
        try:
            said = account.ops("ssh", "worker", "--", "true")
        finally:
            ec2.start_instances(InstanceIds=[account.ids["worker"]])
        assert said.status == 1
        assert f"worker is stopped ({account.ids['worker']}): ops start worker" in said.err

    def test_a_stopped_jump_host_stands_in_the_way(self, account: World) -> None:
        ec2 = account.aws("ec2")
        ec2.stop_instances(InstanceIds=[account.ids["jump"]])
        try:
            said = account.ops("ssh", "worker", "--", "true")
        finally:
            ec2.start_instances(InstanceIds=[account.ids["jump"]])
        assert said.status == 1
        assert "jump is stopped" in said.err
        assert f"aws ec2 start-instances --region us-east-1 --instance-ids {account.ids['jump']}" in " ".join(
            said.err.split()
        )

    def test_a_jump_host_that_runs_without_a_public_address(
        self, account: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        described = {"InstanceId": "i-1", "State": {"Name": "running"}, "PrivateIpAddress": JUMP}
        monkeypatch.setattr(machines, "instances", lambda *_: [described])
        said = account.ops("ssh", "jump", "--", "true")
        assert said.status == 1
        assert "jump runs without a public address (i-1): cdktf deploy mlcore" in " ".join(said.err.split())

    def test_not_deployed(self, account: World) -> None:
        said = account.ops("ssh", "worker", ML_INFRA_DEPLOYMENT__NAME="nobody")
        assert said.status == 1
        assert "train-model is not deployed: cdktf deploy train-model" in said.err

    def test_a_machine_that_somebody_ended(self, account: World) -> None:
        for stack, name in (("mlcore", "jump"), ("train-model", "worker")):
            body = account.aws("s3").get_object(
                Bucket=account.environment["ML_INFRA_STATE__BUCKET"], Key=f"ml-core/{ACCOUNT}/us-east-1/{stack}.tfstate"
            )["Body"]
            account.aws("s3").put_object(
                Bucket=account.environment["ML_INFRA_STATE__BUCKET"],
                Key=f"ml-core/no-machines/us-east-1/{stack}.tfstate",
                Body=body.read(),
            )
            said = account.ops("ssh", name, "--", "true", ML_INFRA_DEPLOYMENT__NAME="no-machines")
            assert said.status == 1
            assert f"EC2 has no such machine any more: cdktf deploy {stack}" in " ".join(said.err.split())

    def test_session_manager_does_not_know_the_others(self, account: World, tmp_path: Path) -> None:
        path = f"{support.session_manager(tmp_path)}:{os.environ['PATH']}"
        for name in ("jump", "metrics"):
            said = account.ops("ssh", name, "--via", "ssm", "--", "true", PATH=path)
            assert said.status == 1
            assert f"Session Manager cannot reach {name}" in said.err
            assert "only worker: leave out --via ssm" in " ".join(said.err.split())

    def test_session_managers_programs_are_missing(self, account: World, tmp_path: Path) -> None:
        for program in ("ssh", "aws"):
            (tmp_path / program).symlink_to("/bin/true")
        said = account.ops("ssh", "worker", "--via", "ssm", "--", "true", PATH=str(tmp_path))
        assert said.status == 1
        assert "session-manager-plugin (https://" in said.err
        assert "the AWS CLI" not in said.err

    def test_ssh_is_missing(self, account: World, tmp_path: Path) -> None:
        said = account.ops("ssh", "worker", "--", "true", PATH=str(tmp_path))
        assert said.status == 1
        assert "ssh is not installed" in said.err


class TestProgress:
    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            (["ssh", "worker", "--json", "--", "true"], "Looking up the address of worker …"),
            (["ssh-config"], "Looking up the addresses of the machines …"),
            (["tunnel", "grafana"], "Looking up the address of metrics …"),
        ],
    )
    def test_who_waits_for_aws_is_told_so(
        self, account: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], text: str
    ) -> None:
        monkeypatch.setattr(progress, "_PATIENCE", 0.0)
        (tmp_path / "ssh").symlink_to("/bin/true")
        ec2 = account.aws("ec2")
        ec2.stop_instances(InstanceIds=[account.ids["metrics"]])  # the tunnel ends by itself then
        try:
            said = account.ops(*arguments, PATH=str(tmp_path))
        finally:
            ec2.start_instances(InstanceIds=[account.ids["metrics"]])
        assert f"{text}\n" in said.err
        assert said.status == (1 if arguments[0] == "tunnel" else 0), said.err


class TestSideBySide:
    def test_each_way_in_has_a_file_of_its_own(self, account: World, home: Path, tmp_path: Path) -> None:
        """ssh reads it again for the jump host, when another command may have written its own."""
        programs = support.session_manager(tmp_path)
        (programs / "ssh").write_text('#!/bin/sh\necho "$2"\n')  # ssh -F FILE
        (programs / "ssh").chmod(0o755)
        other = tmp_path / "other"
        other.write_text(account.key.read_text())

        def file(*arguments: str) -> Path:
            said = account.ops(
                *("ssh", *arguments, "--json", "--", "true"),
                HOME=str(home),
                PATH=f"{programs}:{os.environ['PATH']}",
            )
            return Path(said.document["stdout"].rstrip("\n"))

        ways = [["jump"], ["worker"], ["metrics"], ["worker", "--via", "ssm"], ["worker", "--key", str(other)]]
        files = [file(*way) for way in ways]
        assert len(set(files)) == len(ways)
        assert f'IdentityFile "{other}"' in files[-1].read_text()
        assert "aws ssm start-session" in files[-2].read_text()
        # The same way, the same file: they do not pile up.
        assert [file(*way) for way in ways] == files
        assert sorted(files[0].parent.glob("*.config")) == sorted(files)


class TestLogin:
    def test_the_worker_sees_the_jump_host(self, world: World) -> None:
        said = world.process("ssh", "worker", "--", "whoami; echo $SSH_CONNECTION")
        assert said.status == 0, said.err
        user, connection = said.out.splitlines()
        assert user == "ubuntu"
        assert connection.split()[0::2] == [JUMP, WORKER]

    def test_this_machine_cannot_reach_the_worker_itself(self, world: World) -> None:
        """Only the jump host is on the line; what is sent to the worker from here goes elsewhere."""
        routes = json.loads(sh("ip", "-json", "route", "show", "dev", world.device))
        assert [route["dst"] for route in routes] == [world.jump_address]
        rules = ["-F", "none", "-i", str(world.key), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]
        way = ["-o", f"UserKnownHostsFile={os.devnull}", f"ubuntu@{WORKER}", "true"]
        # Nor does it let in who is beside it, with the right key.
        inside = f"--net=/proc/{world.boxes['metrics'].pid}/ns/net"
        done = subprocess.run(["nsenter", inside, "ssh", *rules, *way], capture_output=True, text=True, check=False)
        assert done.returncode == 255
        assert "Permission denied (publickey)" in done.stderr

    @pytest.mark.parametrize("name", ["jump", "worker", "metrics"])
    def test_the_commands_status_and_output_are_its_own(self, world: World, name: str) -> None:
        said = world.process("ssh", name, "--", "echo out; echo err >&2; exit 7")
        assert (said.status, said.out) == (7, "out\n")
        assert "err\n" in said.err

    def test_as_json(self, world: World) -> None:
        said = world.ops("ssh", "worker", "--json", "--", "echo out; echo err >&2; exit 7")
        assert said.status == 7
        assert said.document["status"] == 7
        assert said.document["stdout"] == "out\n"
        assert said.document["stderr"].endswith("err\n")

    def test_an_interactive_shell_has_a_terminal(self, world: World) -> None:
        child = pexpect.spawn(
            sys.executable,
            ["-m", "ops", "ssh", "worker"],
            cwd=str(ROOT),
            env={**world.environment, "TERM": "xterm"},
            timeout=60,
            encoding="utf-8",
        )
        child.expect(r"\$ ")
        child.sendline("tty; exit 5")
        child.expect("/dev/pts/")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 5

    def test_plain_ssh_scp_and_rsync_use_the_same(self, world: World) -> None:
        assert world.ops("ssh-config", "--write", "--yes").status == 0
        config = str(world.home / ".ssh" / "config")
        worker = f"{DEPLOYMENT}-worker"
        local = world.folder / "a file"
        local.write_text("by scp")
        # ssh takes the person's home from the password database: for the jump host too, -F must be on the command line.
        way = ["-F", config, "-o", "BatchMode=yes"]
        if " " in config:
            link = Path(f"/tmp/ml-ssh-{os.getpid()}")
            link.symlink_to(config)
            way[1] = str(link)
        try:
            assert sh("ssh", *way, worker, "echo $SSH_CONNECTION").split()[0] == JUMP
            sh("scp", "-q", *way, str(local), f"{worker}:/data/by-scp")
            sh("rsync", "-e", f"ssh {' '.join(way)}", str(local), f"{worker}:/data/by-rsync")
        finally:
            if " " in config:
                link.unlink()
            Path(config).unlink()  # it names the right key, whatever --key says later
        assert world.boxes["worker"].path("/data/by-scp").read_text() == "by scp"
        assert world.boxes["worker"].path("/data/by-rsync").read_text() == "by scp"

    def test_a_machine_made_anew_at_the_same_address_is_a_new_name(self, world: World) -> None:
        assert world.process("ssh", "metrics", "--", "true").status == 0
        ec2 = world.aws("ec2")
        old = world.ids["metrics"]
        (before,) = ec2.describe_instances(InstanceIds=[old])["Reservations"][0]["Instances"]
        ec2.terminate_instances(InstanceIds=[old])
        (made,) = ec2.run_instances(
            ImageId=before["ImageId"],
            MinCount=1,
            MaxCount=1,
            NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": before["SubnetId"], "PrivateIpAddress": METRICS}],
            TagSpecifications=[{"ResourceType": "instance", "Tags": before["Tags"]}],
        )["Instances"]
        world.ids["metrics"] = made["InstanceId"]
        new_host_key(world, "metrics")

        said = world.process("ssh", "metrics", "--", "true")
        assert said.status == 0, said.err
        assert "REMOTE HOST IDENTIFICATION HAS CHANGED" not in said.err
        known = (world.home / ".ssh" / "ml-infra" / DEPLOYMENT / "known_hosts").read_text()
        assert {line.split()[0] for line in known.splitlines()} >= {old, made["InstanceId"]}

    def test_another_key_of_the_same_machine_is_refused(self, world: World) -> None:
        assert world.process("ssh", "metrics", "--", "true").status == 0
        kept = world.boxes["metrics"].path("/etc/test-sshd/key").read_bytes()
        new_host_key(world, "metrics")
        try:
            said = world.process("ssh", "metrics", "--", "true")
        finally:
            with world.boxes["metrics"].down():
                world.boxes["metrics"].path("/etc/test-sshd/key").write_bytes(kept)
        assert said.status == 255
        assert "Host key verification failed" in said.err

    def test_the_right_key_of_a_full_agent(self, world: World, tmp_path: Path) -> None:
        """The jump host hears three offers and then hangs up."""
        home = tmp_path / "home"
        (home / ".ssh").mkdir(parents=True, mode=0o700)
        agent = tmp_path / "agent"
        process = subprocess.Popen(["ssh-agent", "-D", "-a", str(agent)], stdout=subprocess.DEVNULL)
        try:
            wait_for("the agent", agent.exists)
            for number in range(5):
                sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / f"other{number}"))
                sh("env", f"SSH_AUTH_SOCK={agent}", "ssh-add", "-q", str(tmp_path / f"other{number}"))
            variables = {"HOME": str(home), "SSH_AUTH_SOCK": str(agent)}
            refused = world.process("ssh", "worker", "--", "true", **variables)
            assert refused.status == 255
            assert "Permission denied (publickey)" in refused.err

            sh("env", f"SSH_AUTH_SOCK={agent}", "ssh-add", "-q", str(world.key))
            said = world.process("ssh", "worker", "--", "whoami", **variables)
        finally:
            process.kill()
            process.wait()
        assert (said.status, said.out) == (0, "ubuntu\n"), said.err

    def test_a_key_under_a_name_of_ssh_is_found_though_no_agent_has_it(self, world: World, tmp_path: Path) -> None:
        """Somebody's own key, imported as the key pair."""
        (tmp_path / ".ssh").mkdir(mode=0o700)
        key = tmp_path / ".ssh" / "id_ed25519"
        key.write_text(world.key.read_text())
        key.chmod(0o600)

        said = world.process("ssh", "worker", "--", "whoami", HOME=str(tmp_path))

        assert (said.status, said.out) == (0, "ubuntu\n"), said.err

    def test_the_agent_that_the_persons_configuration_names(self, world: World, tmp_path: Path) -> None:
        (tmp_path / ".ssh").mkdir(mode=0o700)
        agent = tmp_path / "agent"
        (tmp_path / ".ssh" / "config").write_text(f"Host {DEPLOYMENT}-*\n    IdentityAgent {agent}\n")
        process = subprocess.Popen(["ssh-agent", "-D", "-a", str(agent)], stdout=subprocess.DEVNULL)
        try:
            wait_for("the agent", agent.exists)
            sh("env", f"SSH_AUTH_SOCK={agent}", "ssh-add", "-q", str(world.key))
            said = world.process("ssh", "worker", "--", "whoami", HOME=str(tmp_path), SSH_AUTH_SOCK="")
        finally:
            process.kill()
            process.wait()
        assert (said.status, said.out) == (0, "ubuntu\n"), said.err

    def test_a_key_that_wants_a_passphrase_does_not_hang(self, world: World, tmp_path: Path) -> None:
        key = tmp_path / "locked"
        key.write_text(world.key.read_text())
        key.chmod(0o600)
        sh("ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", str(key))
        # A terminal is there, where ssh would ask, but nobody sits at it: standard input is none.
        child = pexpect.spawn(
            "sh",
            ["-c", '"$0" -m ops ssh worker --key "$1" -- true </dev/null', sys.executable, str(key)],
            cwd=str(ROOT),
            env={**world.environment, "HOME": str(tmp_path)},
            timeout=60,
            encoding="utf-8",
        )
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 255
        assert "Permission denied" in str(child.before)
        assert "passphrase" not in str(child.before)

    def test_through_session_manager_no_port_is_needed(self, world: World, tmp_path: Path) -> None:
        path = f"{support.session_manager(tmp_path, world.boxes['worker'])}:{world.environment['PATH']}"
        with world.boxes["jump"].down():
            said = world.process("ssh", "worker", "--via", "ssm", "--", "echo $SSH_CONNECTION", PATH=path)
        assert said.status == 0, said.err
        assert said.out.split()[0] == WORKER  # the session ends on the machine itself
        sessions = (tmp_path / "sessions").read_text()
        assert f"--target {world.ids['worker']}" in sessions
        assert sessions.endswith("--parameters portNumber=22\n")


def new_host_key(world: World, name: str) -> None:
    box = world.boxes[name]
    with box.down():
        box.path("/etc/test-sshd/key").unlink()
        sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(box.path("/etc/test-sshd/key")))
