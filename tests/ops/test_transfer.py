"""`ops push` and `ops pull` through a real jump host; the connection is killed in the middle of a file."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.embedded_aws.conftest import is_running
from tests.ops.sshd_support import Box, World, relay, sh
from tests.ops.support import Running, wait_for

pytestmark = pytest.mark.system

_BIG = 150_000_000
# KiB a second of a first try that is held back: 25 s for all of it, of which the middle begins after 4.
_SLOW = 6_000


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one big file of noise, which cannot be compressed."""
    folder = tmp_path_factory.mktemp("big data")
    with (folder / "big.bin").open("wb") as file:
        for _ in range(_BIG // 1_000_000):
            file.write(os.urandom(1_000_000))
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Training data with names as people have them."""
    folder = tmp_path / "my images"
    for name in ("a.jpg", "train val/cat & dog.jpg", "train val/ünï 'quoted' \"$HOME\".jpg", "train val/deep/-n"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(os.urandom(5000))
    return folder


@pytest.fixture
def worker(world: World) -> Iterator[Box]:
    """The worker, which has none of the data yet."""
    box = world.boxes["worker"]
    yield box
    for folder in ("/data", "/efs/trained_model"):
        for entry in box.path(folder).iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file, by its path in the folder."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file()
    }


def arriving(folder: Path) -> bool:
    """Whether rsync is in the middle of the big file there: it has a name of its own until it is whole."""
    return any(file.stat().st_size > 20_000_000 for file in folder.rglob(".big.bin.*") if file.is_file())


@pytest.fixture
def slow(tmp_path: Path) -> str:
    """A PATH whose rsync is slow at its first copy, so that there is a middle on a fast machine as well."""
    folder = tmp_path / "a slow rsync"
    folder.mkdir()
    program = folder / "rsync"
    program.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && exec /usr/bin/rsync "$@"\n'
        f'mkdir "{folder}/second" 2>/dev/null && exec /usr/bin/rsync --bwlimit={_SLOW} "$@"\n'
        'exec /usr/bin/rsync "$@"\n'
    )
    program.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def wait_for_the_middle(running: Running, folder: Path) -> None:
    wait_for("the middle of the file", lambda: arriving(folder) or ended(running))
    assert not ended(running), running.err


def wait_for_the_part(folder: Path) -> None:
    """rsync puts what has arrived there when it finds out that the connection is gone."""
    wait_for("what arrived", lambda: (folder / ".rsync-partial" / "big.bin").exists())


def make_model(worker: Box, name: str, content: dict[str, bytes]) -> None:
    for file, data in content.items():
        path = worker.path(f"/efs/trained_model/{name}/{file}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


class TestPush:
    @pytest.mark.parametrize("slash", ["", "/"])
    def test_the_content_comes_to_lie_in_data_imgs(self, world: World, worker: Box, images: Path, slash: str) -> None:
        said = world.ops("push", f"{images}{slash}")
        assert said.status == 0, said.err
        assert digests(worker.path("/data/imgs")) == digests(images)
        assert "copied 4 files" in said.out
        assert worker.path("/data/imgs/a.jpg").stat().st_uid == worker.path("/home/ubuntu").stat().st_uid

    def test_to_another_folder_that_is_made(self, world: World, worker: Box, images: Path) -> None:
        said = world.ops("push", str(images), "--to", "/data/one two/it's")
        assert said.status == 0, said.err
        assert digests(worker.path("/data/one two/it's")) == digests(images)

    def test_only_what_is_new_is_sent_and_nothing_is_deleted(self, world: World, worker: Box, images: Path) -> None:
        assert world.ops("push", str(images)).status == 0
        worker.path("/data/imgs/theirs.jpg").write_text("made on the worker")
        (images / "b.jpg").write_text("new")
        (images / "a.jpg").unlink()

        document = world.ops("push", str(images), "--json").document
        assert (document["files"], document["copied_files"], document["copied_bytes"]) == (4, 1, 3)
        assert (document["tries"], document["dry_run"]) == (1, False)
        assert worker.path("/data/imgs/theirs.jpg").read_text() == "made on the worker"
        assert worker.path("/data/imgs/a.jpg").exists()

    def test_a_dry_run_copies_nothing(self, world: World, worker: Box, images: Path) -> None:
        said = world.ops("push", str(images), "--dry-run")
        assert said.status == 0, said.err
        assert "train val/cat & dog.jpg\n" in said.out
        assert "would copy 4 files" in said.out
        assert not worker.path("/data/imgs").exists()

        document = world.ops("push", str(images), "--dry-run", "--json").document
        assert set(document["would_copy"]) == set(digests(images))


class TestPull:
    def test_all_of_it(self, world: World, worker: Box, tmp_path: Path) -> None:
        make_model(worker, "first", {"checkpoint_1.pt": b"one", "logs/events": b"two"})
        make_model(worker, "the second", {"checkpoint_1.pt": b"three"})
        to = tmp_path / "not yet" / "trained model"
        said = world.ops("pull", "--to", str(to))
        assert said.status == 0, said.err
        assert digests(to) == digests(worker.path("/efs/trained_model"))
        assert len(digests(to)) == 3

    def test_what_is_being_written_is_left_out(self, world: World, worker: Box, tmp_path: Path) -> None:
        make_model(worker, "first", {"checkpoint_1.pt": b"one", ".part-x1y2/checkpoint_2.pt": b"tw"})
        assert world.ops("pull", "first", "--to", str(tmp_path)).status == 0
        assert digests(tmp_path).keys() == {"first/checkpoint_1.pt"}

    @pytest.mark.parametrize("name", ["the second", "the second/", "/efs/trained_model/the second"])
    def test_one_model(self, world: World, worker: Box, tmp_path: Path, name: str) -> None:
        make_model(worker, "first", {"checkpoint_1.pt": b"one"})
        make_model(worker, "the second", {"checkpoint_1.pt": b"two"})
        (tmp_path / "the second").mkdir()
        (tmp_path / "the second" / "mine.txt").write_text("mine")
        assert world.ops("pull", name, "--to", str(tmp_path)).status == 0
        assert (tmp_path / "the second" / "checkpoint_1.pt").read_bytes() == b"two"
        assert (tmp_path / "the second" / "mine.txt").read_text() == "mine"
        assert not (tmp_path / "first").exists()

    def test_one_file_to_the_default_folder(self, world: World, worker: Box) -> None:
        make_model(worker, "first", {"checkpoint_1.pt": b"one", "checkpoint_2.pt": b"two"})
        document = world.ops("pull", "first/checkpoint_2.pt", "--json").document
        assert document["copied_files"] == 1
        assert digests(world.home / "trained_model").keys() == {"first/checkpoint_2.pt"}
        shutil.rmtree(world.home / "trained_model")

    def test_a_dry_run_copies_nothing(self, world: World, worker: Box, tmp_path: Path) -> None:
        make_model(worker, "first", {"checkpoint_1.pt": b"one"})
        to = tmp_path / "models"
        document = world.ops("pull", "--to", str(to), "--dry-run", "--json").document
        assert document["would_copy"] == ["first/checkpoint_1.pt"]
        assert not to.exists()


class TestNewerFiles:
    """What somebody has changed at the other end is left alone, unless they say that it may go."""

    @staticmethod
    def age(path: Path, days: int, content: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        moment = 1_700_000_000 - days * 86_400
        os.utime(path, (moment, moment))

    @pytest.fixture
    def pushed(self, worker: Box, tmp_path: Path) -> Path:
        """A folder of which the worker has one file that is newer, one that is older, and one of the same moment."""
        theirs = worker.path("/data/imgs")
        for name, here, there in (("a.jpg", 9, 1), ("sub/b.jpg", 1, 9), ("c.jpg", 5, 5)):
            self.age(tmp_path / "mine" / name, here, "mine")
            self.age(theirs / name, there, "there")
        shutil.chown(theirs, *[worker.path("/home/ubuntu").stat().st_uid] * 2)
        for path in [worker.path("/data/imgs/sub"), *theirs.rglob("*.jpg")]:
            shutil.chown(path, *[worker.path("/home/ubuntu").stat().st_uid] * 2)
        return tmp_path / "mine"

    @staticmethod
    def content(folder: Path) -> dict[str, str]:
        return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*.jpg")}

    def test_push(self, world: World, worker: Box, pushed: Path) -> None:
        said = world.ops("push", str(pushed))
        assert said.status == 0, said.err
        assert self.content(worker.path("/data/imgs")) == {"a.jpg": "there", "sub/b.jpg": "mine", "c.jpg": "mine"}
        assert "ops: 1 file is newer on the worker and was kept: --overwrite replaces newer files\n" in said.err
        assert world.ops("push", str(pushed), "--json").document["newer_files"] == 1

    def test_push_overwriting(self, world: World, worker: Box, pushed: Path) -> None:
        said = world.ops("push", str(pushed), "--overwrite", "--json")
        assert self.content(worker.path("/data/imgs")) == {"a.jpg": "mine", "sub/b.jpg": "mine", "c.jpg": "mine"}
        assert (said.document["newer_files"], said.document["copied_files"]) == (0, 3)
        assert "newer" not in said.err

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_pull(self, world: World, worker: Box, tmp_path: Path, overwrite: bool) -> None:
        for name in ("checkpoint is newer", "ünï newer", "mine"):
            self.age(worker.path("/efs/trained_model/first") / name, 9, "there")
            self.age(tmp_path / "first" / name, 9 if name == "mine" else 1, "here")
        (worker.path("/efs/trained_model/first") / "fresh is newer").write_text("fresh")
        arguments = ["pull", "--to", str(tmp_path), *(["--overwrite"] if overwrite else [])]

        listed = world.ops(*arguments, "--dry-run", "--json").document
        assert listed["newer_files"] == (0 if overwrite else 2)
        assert ("first/checkpoint is newer" in listed["would_copy"]) == overwrite
        said = world.ops(*arguments)
        assert said.status == 0, said.err
        assert (tmp_path / "first" / "checkpoint is newer").read_text() == ("there" if overwrite else "here")
        assert (tmp_path / "first" / "ünï newer").read_text() == ("there" if overwrite else "here")
        assert (tmp_path / "first" / "fresh is newer").read_text() == "fresh"
        assert ("ops: 2 files are newer here and were kept" in said.err) == (not overwrite)


class TestBrokenConnections:
    @pytest.mark.parametrize("name", ["jump", "worker"])
    def test_a_push_goes_on_where_it_was(self, world: World, worker: Box, big: Path, slow: str, name: str) -> None:
        running = world.start("push", str(big), "--json", PATH=slow)
        wait_for_the_middle(running, worker.path("/data"))
        with world.boxes[name].down():
            running.says("connection broken")
            wait_for_the_part(worker.path("/data/imgs"))
            assert not worker.path("/data/imgs/big.bin").exists()

        said = running.ended()
        assert said.status == 0, said.err
        assert digests(worker.path("/data/imgs")) == digests(big)
        assert said.document["tries"] >= 2
        assert said.document["reused_bytes"] > 10_000_000

    def test_a_pull_goes_on_where_it_was(self, world: World, worker: Box, big: Path, tmp_path: Path, slow: str) -> None:
        """Over an older file, which stays until the new one is whole."""
        worker.path("/efs/trained_model/big").mkdir()
        shutil.copyfile(big / "big.bin", worker.path("/efs/trained_model/big/big.bin"))
        old = tmp_path / "big" / "big.bin"
        old.parent.mkdir()
        old.write_text("old")
        os.utime(old, (1_600_000_000, 1_600_000_000))
        running = world.start("pull", "big", "--to", str(tmp_path), "--json", PATH=slow)
        wait_for_the_middle(running, tmp_path)
        with worker.down():
            running.says("connection broken")
            wait_for_the_part(tmp_path / "big")
            assert old.read_text() == "old"

        said = running.ended()
        assert said.status == 0, said.err
        assert digests(tmp_path / "big") == digests(big)
        assert said.document["tries"] >= 2
        assert said.document["reused_bytes"] > 10_000_000
        assert said.document["newer_files"] == 0

    def test_aws_out_of_reach_as_well(self, world: World, worker: Box, big: Path, slow: str) -> None:
        """The endpoint goes away with the network; the way that was known is tried again."""
        with relay(world) as (endpoint, cut):
            running = world.start("push", str(big), "--json", PATH=slow, AWS_ENDPOINT_URL=endpoint)
            wait_for_the_middle(running, worker.path("/data"))
            cut()
            with worker.down():
                running.says("connection broken")
                wait_for_the_part(worker.path("/data/imgs"))
            said = running.ended()
        assert said.status == 0, said.err
        assert digests(worker.path("/data/imgs")) == digests(big)
        assert said.document["tries"] >= 2

    def test_aws_out_of_reach_is_no_reason_to_try_for_ever(
        self, world: World, worker: Box, big: Path, slow: str
    ) -> None:
        with relay(world) as (endpoint, cut):
            running = world.start("push", str(big), "--tries", "3", PATH=slow, AWS_ENDPOINT_URL=endpoint)
            wait_for_the_middle(running, worker.path("/data"))
            cut()
            with worker.down():
                said = running.ended()
        assert said.status == 1
        assert "the connection broke 3 times" in said.err

    def test_ctrl_c_and_the_same_command_again(self, world: World, worker: Box, big: Path, slow: str) -> None:
        running = world.start("push", str(big), PATH=slow)
        wait_for_the_middle(running, worker.path("/data"))
        family = running.family()
        assert {process.name() for process in family} >= {"rsync", "ssh"}
        assert running.interrupt() == 130
        assert [process for process in family if is_running(process.pid)] == []
        assert "run the same command again to continue" in running.err
        wait_for_the_part(worker.path("/data/imgs"))
        assert not worker.path("/data/imgs/big.bin").exists()

        document = world.ops("push", str(big), "--json").document
        assert document["reused_bytes"] > 10_000_000
        assert digests(worker.path("/data/imgs")) == digests(big)

    def test_it_gives_up_at_last(self, world: World, worker: Box, images: Path) -> None:
        with worker.down():
            said = world.ops("push", str(images), "--tries", "2")
        assert said.status == 1
        assert said.err.count("continuing in") == 1
        assert "the connection broke 2 times (connect failed: Connection refused)" in said.err
        assert "Connection refused" in said.err

    def test_a_worker_that_is_stopped_meanwhile(self, world: World, worker: Box, big: Path, slow: str) -> None:
        ec2 = world.aws("ec2")
        running = world.start("push", str(big), PATH=slow)
        try:
            wait_for_the_middle(running, worker.path("/data"))
            with worker.down():
                ec2.stop_instances(InstanceIds=[world.ids["worker"]])
                said = running.ended()
        finally:
            ec2.start_instances(InstanceIds=[world.ids["worker"]])
        assert said.status == 1
        assert "worker is stopped" in said.err
        assert "ops start worker" in said.err


class TestRefused:
    @pytest.mark.parametrize("name", ["nothing", "empty", "file"])
    def test_no_data(self, world: World, tmp_path: Path, name: str) -> None:
        (tmp_path / "empty" / "deep").mkdir(parents=True)
        (tmp_path / "file").write_text("x")
        said = world.ops("push", str(tmp_path / name))
        message = {"nothing": "does not exist", "empty": "contains no files", "file": "is not a folder"}
        assert said.status == 1
        assert message[name] in said.err

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["push", ".", "--to", "data"], "--to data is not an absolute path"),
            (["pull", "../../etc"], "'../../etc' is not a name in /efs/trained_model"),
            (["pull", "/etc/passwd"], "'/etc/passwd' is not a name in /efs/trained_model"),
        ],
    )
    def test_a_wrong_command_line(self, world: World, arguments: list[str], message: str) -> None:
        said = world.ops(*arguments)
        assert said.status == 2
        assert message in said.err

    def test_a_model_that_is_not_there(self, world: World, worker: Box, tmp_path: Path) -> None:
        said = world.ops("pull", "nothing", "--to", str(tmp_path))
        assert said.status == 1
        assert "/efs/trained_model/nothing does not exist on the worker" in said.err

    @pytest.mark.parametrize("command", [["push", "."], ["pull"]])
    def test_a_stopped_worker(self, world: World, command: list[str]) -> None:
        ec2 = world.aws("ec2")
        ec2.stop_instances(InstanceIds=[world.ids["worker"]])
        try:
            said = world.ops(*command)
        finally:
            ec2.start_instances(InstanceIds=[world.ids["worker"]])
        assert said.status == 1
        assert "worker is stopped" in said.err
        assert "ops start worker" in said.err

    def test_no_rsync_on_the_worker(self, world: World, worker: Box, images: Path) -> None:
        program = worker.path("/usr/bin/rsync")
        program.rename(program.with_name("rsync-away"))
        try:
            said = world.ops("push", str(images))
        finally:
            program.with_name("rsync-away").rename(program)
        assert said.status == 1
        assert "rsync is not installed on the worker: ops ssh worker -- sudo apt-get install -y rsync" in said.err
        assert "continuing" not in said.err

    def test_no_rsync_here(self, world: World, images: Path, tmp_path: Path) -> None:
        (tmp_path / "ssh").symlink_to("/usr/bin/ssh")
        said = world.ops("push", str(images), PATH=str(tmp_path))
        assert said.status == 1
        assert "rsync is not installed" in said.err

    @pytest.mark.parametrize(
        "version",
        ["openrsync: protocol version 29\nrsync version 2.6.9 compatible", "rsync  version 3.0.9  protocol 30"],
    )
    def test_an_old_rsync_here(self, world: World, images: Path, tmp_path: Path, version: str) -> None:
        (tmp_path / "rsync").write_text(f"#!/bin/sh\nprintf '%s\\n' '{version}'\n")
        (tmp_path / "rsync").chmod(0o755)
        said = world.ops("push", str(images), PATH=f"{tmp_path}:{os.environ['PATH']}")
        assert said.status == 1
        assert "is not rsync 3.1 or newer" in said.err
        assert "brew install rsync" in said.err

    def test_a_full_disk(self, world: World, worker: Box, big: Path) -> None:
        worker.path("/data/small").mkdir()
        inside = str(worker.path("/data/small")).removeprefix(f"/proc/{worker.pid}/root")
        enter = ["nsenter", "--target", str(worker.pid), "--mount"]
        sh(*enter, "mount", "-t", "tmpfs", "-o", "size=30m,mode=777", "none", inside)
        try:
            said = world.ops("push", str(big), "--to", "/data/small")
        finally:
            sh(*enter, "umount", inside)
        assert said.status == 1
        assert (
            "the disk is full: increase train_model.data_volume.size_gb and run cdktf deploy train-model, which "
            "enlarges it in place; on a running worker, /data grows within two minutes. Then run the same command again"
        ) in " ".join(said.err.split())
        assert "continuing" not in said.err

    def test_a_folder_that_ubuntu_may_not_make(self, world: World, images: Path) -> None:
        said = world.ops("push", str(images), "--to", "/root/imgs")
        assert said.status == 1
        assert "Permission denied" in said.err
        assert "continuing" not in said.err

    def test_a_key_that_is_not_taken(self, world: World, images: Path, tmp_path: Path) -> None:
        key = tmp_path / "wrong"
        sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
        said = world.ops("push", str(images), "--key", str(key))
        assert said.status == 1
        assert "the machine rejects the key" in said.err
        assert "continuing" not in said.err

    def test_a_place_here_that_cannot_be_made(self, world: World, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        for to, message in ((tmp_path / "file", "is not a folder"), (tmp_path / "file" / "below", "cannot create")):
            said = world.ops("pull", "--to", str(to))
            assert said.status == 1
            assert message in said.err


def ended(running: Running) -> bool:
    return running.process.poll() is not None
