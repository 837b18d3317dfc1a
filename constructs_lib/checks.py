"""Checks of single values: each returns the value as it is to be used, or raises RefusedError with the way out."""

import re
from decimal import Decimal
from typing import Final

from constructs_lib.refused import RefusedError

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_IP_LIKE: Final = re.compile(r"\d+\.\d+\.\d+\.\d+")
# S3 user guide, "General purpose bucket naming rules", read 2026-11. A name ending in -an is left alone: new ones are
# allowed in an account's regional namespace only, but older ones may exist.
_BUCKET_PREFIXES: Final = ("xn--", "sthree-", "amzn-s3-demo-")
_BUCKET_SUFFIXES: Final = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")


def bucket_name(value: str) -> str:
    """A name that S3 accepts for a general purpose bucket."""
    if value.startswith(("s3://", "arn:")):
        raise RefusedError(
            f'"{value}" is a URI or ARN.', f'Give the name only: "{re.split(r"//|:::", value)[-1].split("/")[0]}".'
        )
    if not 3 <= len(value) <= 63:
        raise RefusedError(
            f"A bucket name has 3 to 63 characters; this one has {len(value)}.", "Choose another bucket."
        )
    if not _BUCKET.fullmatch(value):
        likely = value.lower().replace("_", "-")
        raise RefusedError(
            "A bucket name has lower-case letters, digits, dots and hyphens, and a letter or digit at both ends.",
            f"Did you mean {likely}?" if _BUCKET.fullmatch(likely) else "Choose a name like my-terraform-state.",
        )
    if ".." in value:
        raise RefusedError("A bucket name has no two dots in a row.", f"Did you mean {re.sub(r'[.]+', '.', value)}?")
    if _IP_LIKE.fullmatch(value):
        raise RefusedError("A bucket name does not look like an IP address.", "Choose a name like my-terraform-state.")
    for prefix in _BUCKET_PREFIXES:
        if value.startswith(prefix):
            raise RefusedError(f'S3 keeps names that begin with "{prefix}" for itself.', "Choose another bucket.")
    for suffix in _BUCKET_SUFFIXES:
        if value.endswith(suffix):
            raise RefusedError(f'S3 keeps names that end with "{suffix}" for itself.', "Choose another bucket.")
    return value


# Of what S3 allows in a key: nothing that a shell, an environment file or an IAM pattern reads as more than itself.
_KEY_PART: Final = re.compile(r"[A-Za-z0-9_.=+@-]+")


def _key_parts(path: str) -> None:
    for part in path.split("/"):
        if part in ("", ".", "..") or not _KEY_PART.fullmatch(part):
            raise RefusedError(
                f'"{part}" cannot be a part of the path.' if part else "The path has an empty part (two slashes).",
                "Use letters, digits and _ . = + @ - between single slashes.",
            )


# S3 keys have 1024 bytes (https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html), and behind the
# prefix comes at most /<name of 20>/ap-northeast-1/train-model-dev.tfstate.tflock.
LONGEST_STATE_PREFIX: Final = 1024 - 67


def state_prefix(value: str) -> str:
    """The part of a state's S3 key before the deployment's name: not empty, no slash at either end."""
    if value != value.strip("/"):
        raise RefusedError(
            "The prefix begins or ends with a slash, which would be a folder without a name.",
            f'Did you mean "{value.strip("/")}"?' if value.strip("/") else "Write a prefix like ml-core.",
        )
    if not value:
        raise RefusedError("The prefix is empty.", 'Write a prefix like ml-core, or leave the key out for "ml-core".')
    if len(value) > LONGEST_STATE_PREFIX:
        raise RefusedError(
            f"The prefix has {len(value)} characters; with the stack's name and .tflock behind it, S3 has room for "
            f"{LONGEST_STATE_PREFIX}.",
            "Choose a shorter prefix, like ml-core.",
        )
    _key_parts(value)
    return value


# What machines are told must fit into EC2's 16 KB of user data together with the boot scripts.
_LONGEST: Final = 256


def s3_uri(value: str) -> str:
    """s3://bucket or s3://bucket/prefix, returned without a slash at the end."""
    if not value.startswith("s3://"):
        raise RefusedError(f'"{value}" is not an S3 URI.', "Write it like s3://my-bucket/imgs.")
    bucket, _, prefix = value.removeprefix("s3://").partition("/")
    if not bucket:
        raise RefusedError(f'"{value}" names no bucket.', "Write it like s3://my-bucket/imgs.")
    bucket_name(bucket)
    prefix = prefix.removesuffix("/")
    if not prefix:
        return f"s3://{bucket}"
    if len(prefix) > _LONGEST:
        raise RefusedError(
            f"The prefix has {len(prefix)} characters, and {_LONGEST} is the most that user data has room for.",
            "Choose a shorter prefix.",
        )
    _key_parts(prefix)
    return f"s3://{bucket}/{prefix}"


def s3_output_uri(value: str) -> str:
    """s3://bucket/prefix. The prefix is needed: it is all that the machine may write to."""
    uri = s3_uri(value)
    if uri.count("/") == 2:
        raise RefusedError(
            f"{value} has no prefix, so the machine could write to the whole bucket.",
            f"Add a folder of its own, for example {uri}/trained-model.",
        )
    return uri


# Service Authorization Reference, "Actions, resources, and condition keys for AWS Key Management Service"; the id is a
# UUID of RFC 4122, as Terraform's S3 backend wants it.
_KMS_KEY: Final = re.compile(
    r"arn:aws:kms:[a-z]{2}(-[a-z]+)+-\d:\d{12}:key/"
    r"(mrk-[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})",
    re.ASCII,
)


def kms_key_arn(value: str) -> str:
    """The ARN of a KMS key itself: a policy that names an alias allows nothing."""
    example = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-44cd-86ef-1234567890ab"
    if ":alias/" in value or value.startswith("alias/"):
        raise RefusedError(
            "This is an alias, and policies take the key's own ARN.",
            'This prints it: aws kms describe-key --query KeyMetadata.Arn --output text --key-id "the alias"',
        )
    if not _KMS_KEY.fullmatch(value):
        raise RefusedError("This is not the ARN of a KMS key of the aws partition.", f"Write it like {example}.")
    return value


# "aws-backup-restore_datetime": https://docs.aws.amazon.com/aws-backup/latest/devguide/restoring-efs.html
_RESTORED: Final = re.compile(r"aws-backup-restore_[0-9A-Za-z._:-]{1,64}", re.ASCII)


def restored_folder(value: str) -> str:
    """The folder that AWS Backup made in the root of the file system for what it restored, or "/" for all of that."""
    if value != "/" and not _RESTORED.fullmatch(value):
        raise RefusedError(
            f'"{value}" is not a folder that AWS Backup makes.',
            'Write its name alone, like aws-backup-restore_2026-11-30T10-15-00-123456Z, or "/" to see them all.',
        )
    return value


_AMI: Final = re.compile(r"ami-[0-9a-f]{8,17}")
_SNAPSHOT: Final = re.compile(r"snap-[0-9a-f]{8,17}")


def ami_id(value: str) -> str:
    """The id of a machine image."""
    if not _AMI.fullmatch(value):
        raise RefusedError(
            f'"{value}" is not an image id.',
            'Write an id like ami-0123456789abcdef0, or "" to look the image up.',
        )
    return value


def restore_source(value: str) -> str:
    """Where the data volume's content comes from: "latest", "none" or a snapshot id."""
    if value in ("latest", "none") or _SNAPSHOT.fullmatch(value):
        return value
    raise RefusedError(
        f'"{value}" is neither "latest" nor "none" nor a snapshot id.',
        "Write latest (the newest snapshot of this deployment), none (a blank volume), or an id like "
        "snap-0123456789abcdef0.",
    )


_URL: Final = re.compile(r"https://[A-Za-z0-9.-]+(:\d+)?(/[A-Za-z0-9._~+-]+)+/?")


def repository_url(value: str) -> str:
    """The https URL of a public git repository: no credentials, nothing that a shell would read."""
    example = "https://github.com/owner/repository"
    if re.match(r"https?://[^/]*@", value):
        raise RefusedError(
            "The URL carries credentials, which would end up in state, in plans and on the machine.",
            f"Use the URL without them, like {example}; private repositories are not supported.",
        )
    if len(value) > _LONGEST:
        raise RefusedError(
            f"The URL has {len(value)} characters, and {_LONGEST} is the most that user data has room for.",
            f"Use a shorter URL, like {example}.",
        )
    if value.startswith("http://"):
        raise RefusedError("The URL is not https.", f"Did you mean {'https://' + value.removeprefix('http://')}?")
    if not _URL.fullmatch(value):
        raise RefusedError(
            f'"{value}" is not an https URL of a repository (no spaces, quotes or query).', f"Write it like {example}."
        )
    return value


_REVISION: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+-]{0,254}")


# A commit id has 40 characters (64 in a repository with SHA-256). Shorter ones are for the people at a clone: a server
# is not asked by them. Digits alone are more often the date in a tag's name.
_COMMIT_ID: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.IGNORECASE)
_PART_OF_COMMIT_ID: Final = re.compile(r"(?!\d+$)[0-9a-f]{7,63}", re.IGNORECASE)


def git_revision(value: str) -> str:
    """A full commit id, or the name of a tag or branch that a shell reads as it stands."""
    parts = value.split("/")
    if (
        not _REVISION.fullmatch(value)
        or ".." in value
        or value.endswith(".")
        or any(not part or part.startswith(".") or part.endswith(".lock") for part in parts)
    ):
        raise RefusedError(
            f'"{value}" is not a commit id nor a tag or branch name that git and a shell both take as it is.',
            "Write the 40 characters of a commit id (git rev-parse HEAD), or a plain tag or branch name.",
        )
    if _PART_OF_COMMIT_ID.fullmatch(value) and not _COMMIT_ID.fullmatch(value):
        raise RefusedError(
            f"{value} looks like a part of a commit id ({len(value)} of 40 characters), which no server is asked for.",
            f"Write all of it (git rev-parse {value}); a tag or branch of that name is refs/tags/{value} or "
            f"refs/heads/{value}.",
        )
    return value


_IMAGE: Final = re.compile(
    r"(?P<name>[A-Za-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)+|[a-z0-9._-]+)"
    r"(:(?P<tag>\w[\w.-]{0,127}))?(?P<digest>@sha256:[0-9a-f]{64})?",
    re.ASCII,
)


def image_reference(value: str) -> str:
    """A container image with a tag or a digest, so that it is the same image tomorrow."""
    match = _IMAGE.fullmatch(value)
    if not match:
        raise RefusedError(f'"{value}" is not a container image reference.', "Write it like grafana/grafana:13.2.3.")
    if match["digest"]:
        return value
    if match["tag"] is None:
        raise RefusedError(
            f"{value} has neither tag nor digest, so it means another image every day.",
            f"Add the version, for example {value}:13.2.3.",
        )
    if match["tag"] == "latest":
        raise RefusedError(
            f"{value} means another image every day.", f"Name a version, for example {match['name']}:13.2.3."
        )
    return value


_VERSION: Final = re.compile(r"\d+\.\d+\.\d+", re.ASCII)


def version(value: str) -> str:
    """A version of three numbers."""
    if not _VERSION.fullmatch(value):
        raise RefusedError(f'"{value}" is not a version of three numbers.', "Write it like 2.20.0.")
    return value


_DEPLOYMENT: Final = re.compile(r"[a-z]([a-z0-9]|-(?!-)){0,18}[a-z0-9]")


def deployment_name(value: str) -> str:
    """2 to 20 lower-case letters, digits and single hyphens: it begins the AWS name of everything."""
    if not _DEPLOYMENT.fullmatch(value):
        raise RefusedError(
            "A deployment name has 2 to 20 lower-case letters, digits and single hyphens, begins with a letter and "
            "does not end with a hyphen.",
            "Write a name like ml-core.",
        )
    # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSecurityGroup.html
    if value == "sg" or value.startswith("sg-"):
        raise RefusedError(
            "It begins the names of security groups, which may not begin with sg-: those are EC2's ids.",
            "Write a name like ml-core.",
        )
    return value


# What every AWS service accepts in a tag's value, less the space.
_TAG: Final = re.compile(r"[A-Za-z0-9_.:/=+@-]{1,256}")


def tag_value(value: str) -> str:
    """The value of a tag."""
    if not _TAG.fullmatch(value):
        raise RefusedError("A tag has 1 to 256 letters, digits and _ . : / = + @ -.", "Write a name like msls-dcgan.")
    # In any case of letters: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Tag.html
    if value.lower().startswith("aws:"):
        raise RefusedError("AWS keeps tags that begin with aws: for itself.", "Write a name like msls-dcgan.")
    return value


_KEY_PAIR: Final = re.compile(r"[!-~]([ -~]{0,253}[!-~])?")


def key_pair_name(value: str) -> str:
    """The name of an EC2 key pair: 1 to 255 printable ASCII characters."""
    if value.endswith((".pem", ".pub")):
        raise RefusedError(
            f'"{value}" looks like a file, and the name that EC2 knows the key pair by is needed.',
            "List the names with: aws ec2 describe-key-pairs",
        )
    if not _KEY_PAIR.fullmatch(value):
        raise RefusedError(
            "A key pair's name has 1 to 255 printable ASCII characters and no space at either end.",
            "List the names with: aws ec2 describe-key-pairs",
        )
    return value


# No stack costs as little or as much; beyond, amounts could no longer be printed.
_HOURLY_LIMIT: Final = (Decimal("0.0001"), Decimal(1_000_000))


def hourly_limit(value: object) -> Decimal:
    """US dollars an hour, more than nothing."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise RefusedError("This must be a number without quotes, of US dollars an hour.", "Write it like 6.50.")
    # By its text: 6.1 as TOML has it is not quite 6.1 in binary.
    dollars = Decimal(str(value))
    if not dollars.is_finite() or dollars <= 0:
        raise RefusedError(
            f"{value} is no limit: it must be more than 0.", 'Write it like 6.50; "" or nothing at all means no limit.'
        )
    low, high = _HOURLY_LIMIT
    if not low <= dollars <= high:
        raise RefusedError(f"{value} is outside {low} to {high:,}.", "Write it like 6.50.")
    return dollars
