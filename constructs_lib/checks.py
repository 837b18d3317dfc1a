"""Check single values: each function returns the value in its final form, or raises RefusedError with a fix."""

import re
from decimal import Decimal
from typing import Final

from constructs_lib.refused import RefusedError

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_IP_LIKE: Final = re.compile(r"\d+\.\d+\.\d+\.\d+")
# S3 user guide, "General purpose bucket naming rules", read 2026-11. Names ending in -an are accepted: new ones exist
# in an account's regional namespace only, but older buckets may have such a name.
_BUCKET_PREFIXES: Final = ("xn--", "sthree-", "amzn-s3-demo-")
_BUCKET_SUFFIXES: Final = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")


def bucket_name(value: str) -> str:
    """Return `value` if S3 accepts it as the name of a general purpose bucket."""
    if value.startswith(("s3://", "arn:")):
        raise RefusedError(
            f'"{value}" is a URI or an ARN.', f'Write only the name: "{re.split(r"//|:::", value)[-1].split("/")[0]}".'
        )
    if not 3 <= len(value) <= 63:
        raise RefusedError(
            f"A bucket name must have 3 to 63 characters; this one has {len(value)}.", "Choose another bucket."
        )
    if not _BUCKET.fullmatch(value):
        likely = value.lower().replace("_", "-")
        raise RefusedError(
            "A bucket name must consist of lower-case letters, digits, dots and hyphens, and start and end with a "
            "letter or digit.",
            f"Did you mean {likely}?" if _BUCKET.fullmatch(likely) else "Choose a name like my-terraform-state.",
        )
    if ".." in value:
        raise RefusedError(
            "A bucket name must not contain two dots in a row.", f"Did you mean {re.sub(r'[.]+', '.', value)}?"
        )
    if _IP_LIKE.fullmatch(value):
        raise RefusedError("A bucket name must not look like an IP address.", "Choose a name like my-terraform-state.")
    for prefix in _BUCKET_PREFIXES:
        if value.startswith(prefix):
            raise RefusedError(f'S3 reserves bucket names that start with "{prefix}".', "Choose another bucket.")
    for suffix in _BUCKET_SUFFIXES:
        if value.endswith(suffix):
            raise RefusedError(f'S3 reserves bucket names that end with "{suffix}".', "Choose another bucket.")
    return value


# The characters that S3 allows in a key and that have no special meaning in a shell, an environment file or an IAM
# pattern.
_KEY_PART: Final = re.compile(r"[A-Za-z0-9_.=+@-]+")


def _key_parts(path: str) -> None:
    for part in path.split("/"):
        if part in ("", ".", "..") or not _KEY_PART.fullmatch(part):
            raise RefusedError(
                f'The path must not contain "{part}".'
                if part
                else "The path has an empty part (two slashes in a row).",
                "Use letters, digits and _ . = + @ - between single slashes.",
            )


# An S3 key has at most 1024 bytes (https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html). The longest
# text after the prefix is /<name of 20>/ap-northeast-1/train-model-dev.tfstate.tflock.
LONGEST_STATE_PREFIX: Final = 1024 - 67


def state_prefix(value: str) -> str:
    """Return `value` if a state's S3 key can start with it: not empty, no slash at either end."""
    if value != value.strip("/"):
        raise RefusedError(
            "The prefix starts or ends with a slash, which would create a folder without a name.",
            f'Did you mean "{value.strip("/")}"?' if value.strip("/") else "Write a prefix like ml-core.",
        )
    if not value:
        raise RefusedError("The prefix is empty.", 'Write a prefix like ml-core, or remove the key to use "ml-core".')
    if len(value) > LONGEST_STATE_PREFIX:
        raise RefusedError(
            f"The prefix has {len(value)} characters; S3 allows {LONGEST_STATE_PREFIX}, because the stack's name and "
            ".tflock follow it.",
            "Choose a shorter prefix, like ml-core.",
        )
    _key_parts(value)
    return value


# The values for the boot scripts must fit into EC2's 16 KB of user data together with the scripts.
_LONGEST: Final = 256


def s3_uri(value: str) -> str:
    """Return the URI s3://bucket or s3://bucket/prefix without a slash at the end."""
    if not value.startswith("s3://"):
        raise RefusedError(f'"{value}" is not an S3 URI.', "Write it like s3://my-bucket/imgs.")
    bucket, _, prefix = value.removeprefix("s3://").partition("/")
    if not bucket:
        raise RefusedError(f'"{value}" does not contain a bucket name.', "Write it like s3://my-bucket/imgs.")
    bucket_name(bucket)
    prefix = prefix.removesuffix("/")
    if not prefix:
        return f"s3://{bucket}"
    if len(prefix) > _LONGEST:
        raise RefusedError(
            f"The prefix has {len(prefix)} characters; user data has room for {_LONGEST}.",
            "Choose a shorter prefix.",
        )
    _key_parts(prefix)
    return f"s3://{bucket}/{prefix}"


def s3_output_uri(value: str) -> str:
    """Return the URI s3://bucket/prefix. The prefix is required: the machine may write anywhere below it."""
    uri = s3_uri(value)
    if uri.count("/") == 2:
        raise RefusedError(
            f"{value} has no prefix, so the machine could write to the whole bucket.",
            f"Add a prefix, for example {uri}/trained-model.",
        )
    return uri


# Service Authorization Reference, "Actions, resources, and condition keys for AWS Key Management Service"; the id is a
# UUID of RFC 4122, as Terraform's S3 backend requires.
_KMS_KEY: Final = re.compile(
    r"arn:aws:kms:[a-z]{2}(-[a-z]+)+-\d:\d{12}:key/"
    r"(mrk-[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})",
    re.ASCII,
)


def kms_key_arn(value: str) -> str:
    """Return the ARN if it is that of a KMS key. An alias is refused: IAM policies do not resolve it."""
    example = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-44cd-86ef-1234567890ab"
    if ":alias/" in value or value.startswith("alias/"):
        raise RefusedError(
            "This is an alias; IAM policies need the ARN of the key.",
            'To print the ARN: aws kms describe-key --query KeyMetadata.Arn --output text --key-id "the alias"',
        )
    if not _KMS_KEY.fullmatch(value):
        raise RefusedError("This is not the ARN of a KMS key in the aws partition.", f"Write it like {example}.")
    return value


# "aws-backup-restore_datetime": https://docs.aws.amazon.com/aws-backup/latest/devguide/restoring-efs.html
_RESTORED: Final = re.compile(r"aws-backup-restore_[0-9A-Za-z._:-]{1,64}", re.ASCII)


def restored_folder(value: str) -> str:
    """Return the name of a folder that AWS Backup creates for a restore, or "/" for the whole file system."""
    if value != "/" and not _RESTORED.fullmatch(value):
        raise RefusedError(
            f'"{value}" is not the name of a folder that AWS Backup creates.',
            'Write only the name, like aws-backup-restore_2026-11-30T10-15-00-123456Z, or "/" for all of them.',
        )
    return value


_AMI: Final = re.compile(r"ami-[0-9a-f]{8,17}")
_SNAPSHOT: Final = re.compile(r"snap-[0-9a-f]{8,17}")


def ami_id(value: str) -> str:
    """Return `value` if it is the id of an AMI."""
    if not _AMI.fullmatch(value):
        raise RefusedError(
            f'"{value}" is not an AMI id.',
            'Write an id like ami-0123456789abcdef0, or "" to look up the current image.',
        )
    return value


def restore_source(value: str) -> str:
    """Return the source of the data volume's content: "latest", "none" or a snapshot id."""
    if value in ("latest", "none") or _SNAPSHOT.fullmatch(value):
        return value
    raise RefusedError(
        f'"{value}" is not "latest", "none" or a snapshot id.',
        "Write latest (the newest snapshot of this deployment), none (a blank volume), or an id like "
        "snap-0123456789abcdef0.",
    )


_URL: Final = re.compile(r"https://[A-Za-z0-9.-]+(:\d+)?(/[A-Za-z0-9._~+-]+)+/?")


def repository_url(value: str) -> str:
    """Return the https URL of a public git repository. Credentials and characters special to a shell are refused."""
    example = "https://github.com/owner/repository"
    if re.match(r"https?://[^/]*@", value):
        raise RefusedError(
            "The URL contains credentials, which would be stored in the state, in plans and on the machine.",
            f"Remove them, as in {example}. Private repositories are not supported.",
        )
    if len(value) > _LONGEST:
        raise RefusedError(
            f"The URL has {len(value)} characters; user data has room for {_LONGEST}.",
            f"Use a shorter URL, like {example}.",
        )
    if value.startswith("http://"):
        raise RefusedError("The URL is not https.", f"Did you mean {'https://' + value.removeprefix('http://')}?")
    if not _URL.fullmatch(value):
        raise RefusedError(
            f'"{value}" is not the https URL of a repository (without spaces, quotes or a query).',
            f"Write it like {example}.",
        )
    return value


_REVISION: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+-]{0,254}")


# A commit id has 40 characters (64 in a repository with SHA-256). Git resolves shorter ones in a clone only: a server
# cannot be asked for them. A name of digits alone is more likely a tag with a date.
_COMMIT_ID: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.IGNORECASE)
_PART_OF_COMMIT_ID: Final = re.compile(r"(?!\d+$)[0-9a-f]{7,63}", re.IGNORECASE)


def git_revision(value: str) -> str:
    """Return `value` if it is a full commit id, or a tag or branch name without characters special to a shell."""
    parts = value.split("/")
    if (
        not _REVISION.fullmatch(value)
        or ".." in value
        or value.endswith(".")
        or any(not part or part.startswith(".") or part.endswith(".lock") for part in parts)
    ):
        raise RefusedError(
            f'"{value}" is not a commit id or a tag or branch name without special characters.',
            "Write all 40 characters of a commit id (git rev-parse HEAD), or a plain tag or branch name.",
        )
    if _PART_OF_COMMIT_ID.fullmatch(value) and not _COMMIT_ID.fullmatch(value):
        raise RefusedError(
            f"{value} looks like a part of a commit id ({len(value)} of 40 characters); git cannot fetch by a part.",
            f"Write the full id (git rev-parse {value}). For a tag or branch of that name, write refs/tags/{value} or "
            f"refs/heads/{value}.",
        )
    return value


_IMAGE: Final = re.compile(
    r"(?P<name>[A-Za-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)+|[a-z0-9._-]+)"
    r"(:(?P<tag>\w[\w.-]{0,127}))?(?P<digest>@sha256:[0-9a-f]{64})?",
    re.ASCII,
)


def image_reference(value: str) -> str:
    """Return the reference of a container image if it has a digest or a tag other than latest, so that it is fixed."""
    match = _IMAGE.fullmatch(value)
    if not match:
        raise RefusedError(f'"{value}" is not a container image reference.', "Write it like grafana/grafana:13.2.3.")
    if match["digest"]:
        return value
    if match["tag"] is None:
        raise RefusedError(
            f"{value} has neither a tag nor a digest, so the image can change at any time.",
            f"Add a version, for example {value}:13.2.3.",
        )
    if match["tag"] == "latest":
        raise RefusedError(
            f"The image behind {value} can change at any time.", f"Write a version, for example {match['name']}:13.2.3."
        )
    return value


_VERSION: Final = re.compile(r"\d+\.\d+\.\d+", re.ASCII)


def version(value: str) -> str:
    """Return `value` if it is a version in three numbers."""
    if not _VERSION.fullmatch(value):
        raise RefusedError(f'"{value}" is not a version in three numbers.', "Write it like 2.20.0.")
    return value


_DEPLOYMENT: Final = re.compile(r"[a-z]([a-z0-9]|-(?!-)){0,18}[a-z0-9]")


def deployment_name(value: str) -> str:
    """Return the name of a deployment: 2 to 20 lower-case letters, digits and single hyphens.

    Every AWS name starts with it.
    """
    if not _DEPLOYMENT.fullmatch(value):
        raise RefusedError(
            "A deployment name must have 2 to 20 lower-case letters, digits and single hyphens, start with a letter "
            "and not end with a hyphen.",
            "Write a name like ml-core.",
        )
    # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSecurityGroup.html
    if value == "sg" or value.startswith("sg-"):
        raise RefusedError(
            "The names of security groups start with it, and EC2 reserves names that start with sg-.",
            "Write a name like ml-core.",
        )
    return value


# The characters that every AWS service accepts in a tag's value, except the space.
_TAG: Final = re.compile(r"[A-Za-z0-9_.:/=+@-]{1,256}")


def tag_value(value: str) -> str:
    """Return `value` if every AWS service accepts it as the value of a tag."""
    if not _TAG.fullmatch(value):
        raise RefusedError(
            "A tag must have 1 to 256 letters, digits and _ . : / = + @ -.", "Write a name like msls-dcgan."
        )
    # In any case of letters: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Tag.html
    if value.lower().startswith("aws:"):
        raise RefusedError("AWS reserves tags that start with aws:.", "Write a name like msls-dcgan.")
    return value


_KEY_PAIR: Final = re.compile(r"[!-~]([ -~]{0,253}[!-~])?")


def key_pair_name(value: str) -> str:
    """Return the name of an EC2 key pair: 1 to 255 printable ASCII characters."""
    if value.endswith((".pem", ".pub")):
        raise RefusedError(
            f'"{value}" looks like a file name; this must be the name of the key pair in EC2.',
            "To list the names: aws ec2 describe-key-pairs",
        )
    if not _KEY_PAIR.fullmatch(value):
        raise RefusedError(
            "A key pair's name must have 1 to 255 printable ASCII characters and no space at either end.",
            "To list the names: aws ec2 describe-key-pairs",
        )
    return value


# Every stack costs more than the first and less than the second. Amounts outside this range cannot be printed.
_HOURLY_LIMIT: Final = (Decimal("0.0001"), Decimal(1_000_000))


def hourly_limit(value: object) -> Decimal:
    """Return an amount of US dollars an hour, greater than zero."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise RefusedError("This must be a number without quotes, in US dollars an hour.", "Write it like 6.50.")
    # From its text: the binary value of 6.1 is not exactly 6.1.
    dollars = Decimal(str(value))
    if not dollars.is_finite() or dollars <= 0:
        raise RefusedError(f"The limit must be greater than 0, not {value}.", 'Write it like 6.50, or "" for no limit.')
    low, high = _HOURLY_LIMIT
    if not low <= dollars <= high:
        raise RefusedError(f"{value} is outside {low} to {high:,}.", "Write it like 6.50.")
    return dollars
