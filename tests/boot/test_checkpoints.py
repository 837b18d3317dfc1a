"""Checkpoints as real PyTorch writes and reads them, in four processes at once, as the training program does."""

import json
from collections.abc import Iterator

import pytest

from tests.boot.conftest import cleaned, short_folder
from tests.boot.machine import Machine
from tests.boot.machines import VOLUME_ID
from tests.boot.workshop import Ground, Workshop

OUT = "/efs/trained_model/msls-dcgan-128"
PROCESSES = 4
CHECKPOINTS = 10

# As the program does it, on gloo in the place of NCCL: a barrier, then torch.save of all processes to one path. Content
# and size differ.
_TRAINING = f"""
import torch
import torch.distributed
import torch.multiprocessing


def main(rank):
    torch.distributed.init_process_group("gloo", init_method="file:///run/store", world_size={PROCESSES}, rank=rank)
    for epoch in range({CHECKPOINTS}):
        losses = [0.5] * (5000 * rank + 1)
        content = {{"epoch": epoch, "weights": torch.full((200_000,), float(rank)), "losses": losses}}
        torch.distributed.barrier()
        torch.save(content, f"{OUT}/checkpoint_{{epoch}}.pt")
        torch.save(content, f"{OUT}/shard_{{rank}}_{{epoch}}.pt")
    torch.distributed.barrier()


if __name__ == "__main__":
    torch.multiprocessing.spawn(main, nprocs={PROCESSES})
"""

_RESULT = f"""
import json
import os
import sys
import zipfile

import torch

found = {{}}
for name in sorted(os.listdir("{OUT}")):
    path = f"{OUT}/{{name}}"
    bad = zipfile.ZipFile(path).testzip()
    content = torch.load(path)
    losses = len(content["losses"])
    found[name] = [bad, content["epoch"], content["weights"].unique().tolist(), losses]
try:
    resumed = torch.load("{OUT}/checkpoint_4.pt")["epoch"]
    os.remove("{OUT}/checkpoint_4.pt")
    again = torch.load("{OUT}/checkpoint_4.pt")
    third = torch.load("{OUT}/checkpoint_3.pt")["epoch"]
    resumed = [resumed, again["epoch"], again["weights"].unique().tolist(), third]
except Exception as error:
    resumed = repr(error)
print(json.dumps([found, resumed]))
"""


@pytest.fixture(scope="module")
def machine(ground: Ground, settled_worker: Machine) -> Iterator[Machine]:
    with cleaned(Workshop(short_folder(), ground, settled_worker)) as made:
        machine = made.settled()
        machine.insert(made.disk(), "nvme1n1", VOLUME_ID)
        machine.insert(made.disk("efs", mib=400).make("mkfs.ext4", "-q"), "checkpoints")
        machine.prepare("/srv/training.py", _TRAINING)
        machine.prepare("/srv/result.py", _RESULT)
        machine.boot()
        machine.run(f"umount /efs; mount -t ext4 /dev/checkpoints /efs; mkdir -p {OUT}")
        yield machine


def test_each_checkpoint_is_whole_and_that_of_the_first_process(machine: Machine) -> None:
    environment = f"PYTHONPATH=/usr/local/lib/ml-infra ML_INFRA_OUT={OUT}"
    machine.run(f"{environment} OMP_NUM_THREADS=1 python3 /srv/training.py", timeout=300)
    environment += f" ML_INFRA_RESUME={OUT}/checkpoint_3.pt"
    found, resumed = json.loads(machine.run(f"{environment} python3 /srv/result.py", timeout=120).stdout)
    expected = {f"checkpoint_{epoch}.pt": [None, epoch, [0.0], 1] for epoch in range(CHECKPOINTS)}
    # What each process writes under a name of its own, it writes.
    for rank in range(PROCESSES):
        expected |= {
            f"shard_{rank}_{epoch}.pt": [None, epoch, [float(rank)], 5000 * rank + 1] for epoch in range(CHECKPOINTS)
        }
    assert found == expected
    # What a program reads that is to begin with epoch 4: checkpoint 3.
    assert resumed == [4, 4, [0.0], 3]
