"""The S3 buckets of the machines' own data: they are there, or the machine learns it when it costs."""

from collections.abc import Iterator

from botocore.exceptions import ClientError

from ops.doctor.report import Check, Finding, Patient, is_denied, ok, problem, unknown, why_unknown

_STACKS = {"train-model": ("worker", "train_model"), "train-model-dev": ("notebook", "train_model_dev")}


def data_buckets(patient: Patient) -> Iterator[Finding]:
    """Check the buckets in data_s3_uri and output_s3_uri."""
    for stack in patient.stacks:
        if stack not in _STACKS:
            continue
        machine, section = _STACKS[stack]
        for key, what in (("data_s3_uri", "data"), ("output_s3_uri", "results")):
            uri = getattr(getattr(patient.settings, section), key)
            if uri is not None:
                yield _bucket(patient, f"{machine}: {what}", f"{section}.{key}", uri)


def _bucket(patient: Patient, subject: str, setting: str, uri: str) -> Finding:
    name, _, prefix = uri.removeprefix("s3://").partition("/")
    s3 = patient.session.client("s3")
    try:
        s3.head_bucket(Bucket=name)
        # The buckets of others may be asked for by the machine's role only: that is not known here.
        found = s3.list_objects_v2(Bucket=name, Prefix=f"{prefix}/" if prefix else "", MaxKeys=1)["KeyCount"]
    except ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchBucket"):
            return problem(
                subject,
                f"the bucket {name} ({setting}) does not exist",
                f"correct {setting}, or: aws s3api create-bucket --bucket {name}",
            )
        if is_denied(error):
            return unknown(
                subject, f"these credentials may not list {name} ({setting}); the machine's role may still have access"
            )
        return unknown(subject, f"{uri}: {why_unknown(error)}")
    return ok(subject, uri if found else f"{uri}, still empty")


CHECKS = (Check("data buckets", data_buckets),)
