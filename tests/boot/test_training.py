"""The command `train`, on a worker that is ready, with the training program's options and checkpoints."""

import json
import shlex
from collections.abc import Iterator

import pytest

from tests.boot import machines
from tests.boot.conftest import cleaned, short_folder
from tests.boot.machine import Machine, wait_for
from tests.boot.machines import VOLUME_ID
from tests.boot.workshop import Ground, Workshop

LOG = "/var/log/ml-infra/training.log"
MODELS = "/efs/trained_model"


@pytest.fixture(scope="module")
def worker(ground: Ground) -> Iterator[Machine]:
    with cleaned(Workshop(short_folder(), ground)) as made:
        machine = made.machine()
        machine.insert(made.disk(), "nvme1n1", VOLUME_ID)
        machines.accelerators(machine, "nvidia")
        person(machine)
        status = machine.first_boot(made.worker("nvidia"))
        assert (status.state, status.failed) == ("ready", {})
        yield machine


def person(machine: Machine) -> None:
    """As a person's shell: sudo is there for whoever is not root."""
    machine.prepare("/usr/local/sbin/sudo", '#!/bin/bash\n[[ $1 != -- ]] || shift\nexec "$@"\n', 0o755)


def train(machine: Machine, arguments: str) -> tuple[int, str]:
    """Exit status and what it said."""
    ran = machine.run(f"train {arguments} </dev/null", check=False)
    return ran.returncode, ran.stdout + ran.stderr


def ended(machine: Machine) -> None:
    machine.wait_for_unit("training.service")


def programs(machine: Machine) -> list[dict[str, object]]:
    """The options of every run of the program, as it got them."""
    return [json.loads(line) for line in machine.read(LOG).splitlines() if line.startswith("{")]


def epochs(machine: Machine) -> list[int]:
    """Those of the last run of the program."""
    run = machine.read(LOG).rpartition("\n{")[2]
    return [int(line.split()[1]) for line in run.splitlines() if line.startswith("epoch ")]


def test_refused_without_images(worker: Machine) -> None:
    assert train(worker, "") == (1, "train: there are no files below /data/imgs/train_val: copy the images there\n")


def test_images_that_the_program_would_not_find_are_refused(worker: Machine) -> None:
    """torchvision's ImageFolder reads folders of classes, and wants an image in each."""
    images = "/data/imgs/train_val"
    worker.run(f"mkdir -p {images}; echo jpg >{images}/1.jpg; chown -R 1000 /data")
    status, said = train(worker, "")
    assert status == 1
    assert said.startswith(f"train: the images are in {images} itself, and the program reads only folders in it.")
    way_out = said.partition("One is enough: ")[2].strip()
    assert way_out == f"cd {images} && mkdir all && find . -maxdepth 1 -type f -exec mv -t all {{}} +"
    worker.run(way_out)
    assert worker.run(f"cd {images}; find . -type f").stdout == "./all/1.jpg\n"

    worker.run(f"mkdir -p {images}/empty/deep; echo >{images}/empty/deep/notes.txt")
    status, said = train(worker, "")
    assert status == 1
    assert said.endswith(f" is a class to the program, and {images}/empty/ has no images: add some or remove it\n")
    # As ImageFolder sees it: whatever the case, however deep, and behind links.
    worker.run(f"mv {images}/empty /data/elsewhere; ln -s /data/elsewhere {images}/berlin")
    worker.run(f"mv /data/elsewhere/deep/notes.txt /data/elsewhere/deep/2.JPEG; mv {images}/all {images}/london")
    assert worker.run("systemctl is-active training", check=False).stdout == "inactive\n"


def test_the_programs_folder_of_images_is_the_one_that_is_looked_at(worker: Machine) -> None:
    status, said = train(worker, "--name elsewhere --dataroot /data/no_such_folder")
    assert (status, said) == (1, "train: there are no files below /data/no_such_folder: copy the images there\n")


def test_help_and_a_bad_name(worker: Machine) -> None:
    status, said = train(worker, "--help")
    assert status == 0
    assert "train status | log | stop" in said
    status, said = train(worker, "--name ../etc")
    assert (status, said) == (1, "train: '../etc' is not a valid folder name: use letters, digits, . _ and -\n")


def test_it_outlives_the_session_that_started_it(worker: Machine) -> None:
    """What started it is killed with all of its processes, as at a lost connection."""
    worker.run("touch /data/hold")
    session = "train --n_epoch 4 && touch /run/boot-test/started; sleep infinity"
    worker.run(f"systemd-run -q --unit=session --collect bash -c '{session}'")
    wait_for("its start", lambda: worker.exists("/run/boot-test/started"))
    assert worker.run("systemctl is-active session").stdout == "active\n"
    worker.run("systemctl kill -s KILL session")
    worker.wait_for_unit("session")
    assert worker.run("systemctl show -P MainPID training").stdout != "0\n"
    user = worker.run("ps -o user= -p $(systemctl show -P MainPID training)").stdout.strip()
    assert user == "ubuntu"
    status, said = train(worker, "")
    assert (status, said) == (1, "train: a training is already running: train status, train log, train stop\n")
    worker.run("rm /data/hold")
    ended(worker)

    (options,) = programs(worker)
    assert options == {
        "dataroot": "/data/imgs/train_val/",
        "s_epoch": 0,
        "n_epoch": 4,
        "s3_bucket": "",
        "checkpoint_params": {
            "name": "msls-dcgan-128",
            "root": f"{MODELS}/",
            "log_frequency": 50,
            "save_frequency": 1,
        },
        "profile": True,
        "logging": True,
    }
    assert sorted(worker.run(f"ls {MODELS}/msls-dcgan-128").stdout.split()) == [f"checkpoint_{n}.pt" for n in range(4)]
    assert worker.run(f"stat -c %U {MODELS}/msls-dcgan-128/checkpoint_3.pt {LOG}").stdout == "ubuntu\n" * 1 + "root\n"
    assert "ended with exit status 0" in worker.read(LOG)


def test_a_new_training_never_overwrites_checkpoints(worker: Machine) -> None:
    before = worker.run(f"sha256sum {MODELS}/msls-dcgan-128/*").stdout
    status, said = train(worker, "")
    assert status == 1
    assert "has checkpoints, which a new training would overwrite: train --resume, or train --name OTHER" in said
    assert worker.run(f"sha256sum {MODELS}/msls-dcgan-128/*").stdout == before


def test_nothing_but_train_starts_it_again(worker: Machine) -> None:
    """As needrestart does after an update, unless it is told not to: with the same command, over what came of it."""
    unit = "systemd-run -q --unit=training --uid=1000 -p WorkingDirectory=/opt/training/model"
    unit += f" -p StandardOutput=append:{LOG} -p StandardError=append:{LOG}"
    for last in ("none", "1"):
        before = worker.run(f"sha256sum {MODELS}/msls-dcgan-128/*").stdout
        runs = len(programs(worker))
        worker.run("systemctl reset-failed training", check=False)
        worker.run(f"{unit} /usr/local/lib/ml-infra/train.sh run msls-dcgan-128 {last} --n_epoch 4")
        ended(worker)
        assert worker.run("systemctl show -P ExecMainStatus training").stdout == "1\n"
        assert len(programs(worker)) == runs
        assert worker.run(f"sha256sum {MODELS}/msls-dcgan-128/*").stdout == before
    log = worker.read(LOG)
    assert f"train: {MODELS}/msls-dcgan-128 has checkpoints, which a new training would overwrite" in log
    assert f"train: {MODELS}/msls-dcgan-128 has gone on since checkpoint 1: train --resume" in log


def test_a_restart_of_a_running_training_does_not_begin_it_anew(worker: Machine) -> None:
    assert train(worker, "--name restarted --n_epoch 1000")[0] == 0
    wait_for("a checkpoint", lambda: worker.exists(f"{MODELS}/restarted/checkpoint_1.pt"))
    runs = len(programs(worker))
    first = worker.run(
        f"sha256sum {MODELS}/restarted/checkpoint_0.pt; stat -c %Y.%i {MODELS}/restarted/checkpoint_0.pt"
    )
    worker.run("systemctl restart training", check=False)
    ended(worker)
    assert len(programs(worker)) == runs
    again = worker.run(
        f"sha256sum {MODELS}/restarted/checkpoint_0.pt; stat -c %Y.%i {MODELS}/restarted/checkpoint_0.pt"
    )
    assert again.stdout == first.stdout


def test_checkpoints_behind_a_link_are_not_overwritten(worker: Machine) -> None:
    folder = f"{MODELS}/linked"
    worker.run(f"mkdir -p {folder}; echo whole >{folder}/checkpoint_7.pt; chown -R 1000 {folder}")
    worker.run(f"mv {MODELS} /efs/elsewhere; ln -s elsewhere {MODELS}")
    status, said = train(worker, "--name linked")
    worker.run(f"rm {MODELS}; mv /efs/elsewhere {MODELS}")
    assert status == 1
    assert "has checkpoints, which a new training would overwrite" in said


@pytest.mark.parametrize("arguments", ["", "--resume"])
def test_checkpoints_that_cannot_be_read_are_not_overwritten(worker: Machine, arguments: str) -> None:
    folder = f"{MODELS}/broken"
    worker.run(f"mkdir -p {folder}; echo half >{folder}/checkpoint_7.pt; chown -R 1000 {folder}")
    status, said = train(worker, f"--name broken {arguments}")
    assert status == 1
    assert ("has no whole checkpoint to go on from" if arguments else "has checkpoints, which a new") in said
    assert worker.run(f"cat {folder}/*").stdout == "half\n"


def test_a_folder_that_cannot_be_looked_at_is_not_written_into(worker: Machine) -> None:
    worker.prepare(
        "/usr/local/sbin/find",
        '#!/bin/bash\n[[ $1 != /efs/* ]] || { echo "find: Stale file handle" >&2; exit 1; }\nexec /usr/bin/find "$@"\n',
        0o755,
    )
    status, said = train(worker, "--name stale")
    worker.on_root("/usr/local/sbin/find").unlink()
    assert status == 1
    assert f"train: {MODELS}/stale cannot be looked at" in said
    assert worker.run("systemctl is-active training", check=False).stdout != "active\n"


def test_options_of_a_person_win(worker: Machine) -> None:
    assert train(worker, "--name plain --n_epoch 1 --profile '' --logging ''")[0] == 0
    ended(worker)
    options = programs(worker)[-1]
    assert (options["profile"], options["logging"]) == (False, False)
    assert worker.run(f"ls {MODELS}/plain").stdout == "checkpoint_0.pt\n"


@pytest.mark.parametrize("profile", ["none", "neuron"])
def test_without_cuda_the_default_program_is_not_started(workshop: Workshop, profile: str) -> None:
    machine = workshop.settled()
    machine.insert(workshop.disk(), "nvme1n1", VOLUME_ID)
    machine.boot()
    machine.run(f"sed -i s/^BOOT_PROFILE=.*/BOOT_PROFILE={profile}/ /etc/ml-infra/boot.env")
    machine.run("mkdir -p /data/imgs/train_val/a && echo jpg >/data/imgs/train_val/a/1.jpg")
    status, said = train(machine, "")
    assert status == 1
    assert said == (
        "train: msls.run_dcgan needs CUDA or Gaudi, or another training_repository. "
        "Here: ModuleNotFoundError: No module named 'habana_frameworks'\n"
    )
    # A program that runs without is.
    machine.run("sed -i '/habana_frameworks/s/import.*/pass/' /opt/training/model/msls/run_dcgan.py")
    assert train(machine, "--n_epoch 1")[0] == 0
    ended(machine)
    assert machine.exists(f"{MODELS}/msls-dcgan-128/checkpoint_0.pt")


def test_resume_goes_on_from_the_last_whole_checkpoint(worker: Machine) -> None:
    # The machine died while this one was being written.
    worker.run(f"head -c 60 {MODELS}/msls-dcgan-128/checkpoint_3.pt >{MODELS}/msls-dcgan-128/checkpoint_10.pt")
    folder = f"{MODELS}/msls-dcgan-128"
    worker.run(f"mkdir {folder}/.part-of-a-killed-one && chown -R 1000 {folder}")
    before = worker.run(f"cd {folder}; sha256sum checkpoint_[0-3].pt; stat -c %i checkpoint_[0-3].pt").stdout
    status, said = train(worker, "--resume --n_epoch 6")
    assert status == 0
    assert f"{folder}/checkpoint_10.pt is not whole and is passed over" in said
    assert "Going on from checkpoint 3, with epoch 4." in said
    ended(worker)

    assert programs(worker)[-1]["s_epoch"] == 4
    assert epochs(worker) == [4, 5]
    assert worker.run(f"cd {folder}; sha256sum checkpoint_[0-3].pt; stat -c %i checkpoint_[0-3].pt").stdout == before
    assert sorted(worker.run(f"ls -A {folder}").stdout.split()) == sorted(
        f"checkpoint_{number}.pt" for number in (0, 1, 2, 3, 4, 5, 10)
    )


def test_a_finished_training_is_said_to_be_finished(worker: Machine) -> None:
    assert train(worker, "--name short --n_epoch 2")[0] == 0
    ended(worker)
    runs = len(programs(worker))
    status, said = train(worker, "--resume --name short --n_epoch=2")
    assert status == 0
    assert said == f"{MODELS}/short is finished: 1 is the last of 2 epochs. --n_epoch adds more.\n"
    assert worker.run("systemctl is-active training", check=False).stdout == "inactive\n"
    assert len(programs(worker)) == runs
    # The program itself goes to 16.
    assert "with epoch 2." in train(worker, "--resume --name short")[1]
    wait_for("epoch 2", lambda: worker.exists(f"{MODELS}/short/checkpoint_2.pt"))
    train(worker, "stop")
    ended(worker)


def test_a_checkpoint_of_epoch_0_can_be_gone_on_from(worker: Machine) -> None:
    """To the program, --s_epoch 0 means from the beginning."""
    assert train(worker, "--name first --n_epoch 1")[0] == 0
    ended(worker)
    before = worker.run(f"sha256sum {MODELS}/first/checkpoint_0.pt").stdout
    assert "Going on from checkpoint 0, with epoch 1." in train(worker, "--name first --resume -ne 2")[1]
    ended(worker)
    assert epochs(worker) == [1]
    assert worker.run(f"sha256sum {MODELS}/first/checkpoint_0.pt").stdout == before


def test_the_settings_of_checkpoints_keep_name_and_folder(worker: Machine) -> None:
    status, said = train(worker, """--name own -c '{"name": "msls-dcgan-128"}'""")
    assert status == 2
    assert "name and root in --checkpoint_params: use --name" in said
    assert train(worker, """--name own --n_epoch 1 --checkpoint_params '{"save_frequency": 4}'""")[0] == 0
    ended(worker)
    assert programs(worker)[-1]["checkpoint_params"] == {
        "name": "own",
        "root": f"{MODELS}/",
        "log_frequency": 50,
        "save_frequency": 4,
    }


def test_resume_without_a_checkpoint(worker: Machine) -> None:
    status, said = train(worker, "--resume --name other")
    assert status == 1
    assert f"{MODELS}/other has no whole checkpoint to go on from: start without --resume" in said


def test_status_and_stop(worker: Machine) -> None:
    assert train(worker, "--name long --n_epoch 1000")[0] == 0
    status, said = train(worker, "status")
    assert status == 0
    assert "Active: active (running)" in said
    wait_for("a checkpoint", lambda: worker.exists(f"{MODELS}/long/checkpoint_0.pt"))
    assert train(worker, "stop")[0] == 0
    ended(worker)
    assert worker.read(LOG).splitlines()[-1].endswith(" ended by train stop")
    checkpoints = worker.run(f"ls {MODELS}/long").stdout.split()
    assert "checkpoint_999.pt" not in checkpoints


def test_a_program_that_fails_says_so(worker: Machine) -> None:
    assert train(worker, "--name wrong --no_such_option")[0] == 0
    ended(worker)
    assert "unrecognized arguments: --no_such_option" in worker.read(LOG)
    assert worker.run("systemctl is-failed training", check=False).stdout == "failed\n"
    # And the next one starts.
    assert train(worker, "--name right --n_epoch 1")[0] == 0
    ended(worker)
    assert worker.run(f"ls {MODELS}/right").stdout == "checkpoint_0.pt\n"


def test_after_a_reboot_it_is_resumed_by_hand_and_not_by_itself(worker: Machine) -> None:
    assert train(worker, "--name again --n_epoch 1000")[0] == 0
    # The last of them may be half written.
    wait_for("three checkpoints", lambda: worker.exists(f"{MODELS}/again/checkpoint_2.pt"))
    worker.kill()
    status = worker.boot()
    assert (status.state, status.failed) == ("ready", {})
    assert worker.run("systemctl is-active training", check=False).stdout == "inactive\n"

    runs = len(programs(worker))
    assert train(worker, "--name again --resume --n_epoch 1000")[0] == 0
    wait_for("the program", lambda: len(programs(worker)) > runs)
    train(worker, "stop")
    ended(worker)
    assert int(str(programs(worker)[-1]["s_epoch"])) >= 1


def test_without_the_shared_file_system_nothing_is_started(worker: Machine) -> None:
    worker.run("umount /efs")
    status, said = train(worker, "--name lost")
    assert status == 1
    assert "/efs is not mounted, so checkpoints would be lost" in said
    worker.run("mount /efs")


def test_results_go_to_the_bucket_of_the_settings(worker: Machine) -> None:
    worker.run("aws s3api create-bucket --bucket results-of-training")
    worker.run("sed -i 's#^OUTPUT_S3_URI=.*#OUTPUT_S3_URI=s3://results-of-training/run#' /etc/ml-infra/boot.env")
    worker.run("cp -r /root/.aws /home/ubuntu/ && chown -R 1000 /home/ubuntu/.aws")
    assert train(worker, "--name sent --n_epoch 2")[0] == 0
    ended(worker)
    listed = worker.run("aws s3 ls s3://results-of-training/run/sent/").stdout
    assert [line.split()[-1] for line in listed.splitlines()] == ["checkpoint_0.pt", "checkpoint_1.pt"]


def test_gaudi_runs_in_habanas_container(workshop: Workshop) -> None:
    machine = workshop.settled(again=True)
    machine.insert(workshop.disk(), "nvme1n1", VOLUME_ID)
    machines.accelerators(machine, "gaudi")
    person(machine)
    held = """
case $1 in
  info) echo habana ;;
  run) [[ $* != *--name* ]] || exec /usr/bin/sleep infinity ;;
esac
"""
    machine.stand_in("docker", held, path="/usr/bin")
    status = machine.first_boot(workshop.worker("gaudi"))
    assert (status.state, status.failed) == ("ready", {})
    machine.run("mkdir -p /data/imgs/train_val/a && echo jpg >/data/imgs/train_val/a/1.jpg")

    def containers() -> list[list[str]]:
        return [call for call in machine.calls("docker") if call[0] in ("run", "rm")]

    assert train(machine, "--n_epoch 3")[0] == 0
    wait_for("its container", lambda: "run" in [call[0] for call in containers()])
    assert train(machine, "stop")[0] == 0
    ended(machine)

    # What is left of the one before is taken away, and then its own, which may outlive the docker command.
    before, run, after = containers()
    assert before == after == ["rm", "-f", "training"]
    image = "vault.habana.ai/gaudi-docker/1.21.3/ubuntu22.04/habanalabs/pytorch-installer-2.6.0:1.21.3-57"
    program = run[run.index(image) + 1 :]
    # The image has a PYTHONPATH of its own (/root:/usr/lib/habanalabs/), which stays.
    assert program[:2] == ["bash", "-c"]
    assert program[4:6] == ["-m", "msls.run_dcgan"]
    assert program[program.index("--n_epoch") + 1] == "3"
    assert {"--init", "--runtime=habana", "HABANA_VISIBLE_DEVICES=all", "/efs:/efs", "/data:/data:ro"} <= set(run)
    shown = 'import os, sys; print(sys.argv[1:], os.environ["PYTHONPATH"], "sitecustomize" in sys.modules)'
    inside = shlex.join([*program[:4], "-c", shown, "a b", "$c"])
    said = machine.run(f"ML_INFRA_OUT=/x PYTHONPATH=/root:/usr/lib/habanalabs/ {inside}").stdout
    assert said == "['a b', '$c'] /usr/local/lib/ml-infra:/root:/usr/lib/habanalabs/ True\n"
    assert {"ML_INFRA_OUT", "ML_INFRA_RESUME", "/usr/local/lib/ml-infra:/usr/local/lib/ml-infra:ro"} <= set(run)
