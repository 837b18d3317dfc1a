"""The calls that moto 5.2.5 lacks or answers unlike AWS, one module per service.

A closure answers as the API documents, never so that a plan happens to be clean. When moto catches up, delete ours:
`patching.add` refuses to run over a method that moto has meanwhile got.
"""

from functools import cache

from embedded_aws.gaps import backup, ec2, efs, network, s3, sagemaker, ssm, sts, volumes


@cache
def install() -> None:
    """Close every gap in this process, once."""
    for service in (backup, ec2, efs, network, s3, sagemaker, ssm, sts, volumes):
        service.install()
