"""The machine images of the embedded AWS and the public parameters that name them.

Parameter names, owners and the fixed part of image names are the real ones (read 2026-11). The dates in the names, ids
and snapshots are made up, the ids other ones in every region, as on AWS. The root volumes of the deep learning images
are approximate: they change by release.
"""

import hashlib
from dataclasses import dataclass

CANONICAL = "099720109477"  # https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images/
AMAZON = "898082745236"  # owner of the deep learning images


@dataclass(frozen=True)
class PublicImage:
    """One image: the SSM parameter that names its id, and what DescribeImages shows. `root_gib` is in GiB."""

    parameter: str
    name: str
    owner_id: str
    root_gib: int
    owner_alias: str | None = "amazon"

    def image_id(self, region: str) -> str:
        """Return the id in one region, always the same."""
        return "ami-" + hashlib.sha256(f"{region} {self.parameter}".encode()).hexdigest()[:17]


def _ubuntu(version: str, codename: str, storage: str, folder: str) -> PublicImage:
    return PublicImage(
        parameter=f"/aws/service/canonical/ubuntu/server/{version}/stable/current/amd64/hvm/ebs-{storage}/ami-id",
        name=f"ubuntu/images/{folder}/ubuntu-{codename}-{version}-amd64-server-20261101",
        owner_id=CANONICAL,
        owner_alias=None,
        root_gib=8,
    )


IMAGES = (
    _ubuntu("24.04", "noble", "gp3", "hvm-ssd-gp3"),
    _ubuntu("22.04", "jammy", "gp2", "hvm-ssd"),
    PublicImage(
        parameter="/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id",
        name="Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04) 20261101",
        owner_id=AMAZON,
        root_gib=65,
    ),
    PublicImage(
        parameter="/aws/service/deeplearning/ami/x86_64/oss-nvidia-driver-gpu-pytorch-2.12-ubuntu-24.04/latest/ami-id",
        name="Deep Learning OSS Nvidia Driver AMI GPU PyTorch 2.12 (Ubuntu 24.04) 20261101",
        owner_id=AMAZON,
        root_gib=75,
    ),
    PublicImage(
        parameter="/aws/service/neuron/dlami/pytorch-2.9/ubuntu-24.04/latest/image_id",
        name="Deep Learning AMI Neuron PyTorch 2.9 (Ubuntu 24.04) 20260701",
        owner_id=AMAZON,
        root_gib=100,
    ),
    PublicImage(
        parameter="/aws/service/neuron/dlami/multi-framework/ubuntu-22.04/latest/image_id",
        name="Deep Learning AMI Neuron (Ubuntu 22.04) 20261101",
        owner_id=AMAZON,
        root_gib=100,
    ),
)
