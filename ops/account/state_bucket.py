"""The S3 bucket of Terraform's state: what it should be like, how it differs, and how it is made so.

Nothing here deletes: policy statements, lifecycle rules and tags of others stay. But three parts (owner, policy, public
access) refuse requests that the bucket may have answered before: what was public, granted by an access list, or sent
without TLS. On a bucket that others use already they are for a person to agree to.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from ops.core.errors import OpsError
from ops.core.session import Session

# Days that an old state, or what is left of a broken upload, is kept; and how many old states are kept for ever.
OLD_STATE_DAYS: Final = 90
OLD_STATES_KEPT: Final = 10
BROKEN_UPLOAD_DAYS: Final = 7

POLICY_SID: Final = "MlInfraTlsOnly"

# The IAM action where it is not called like the call: Service Authorization Reference, "Actions defined by Amazon S3".
_ACTIONS: Final = {
    "HeadBucket": "ListBucket",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
}


@dataclass(frozen=True)
class Difference:
    """What is to be done to one part of the bucket. made: it was not there at all. apply: does it."""

    made: bool
    what: str
    apply: Callable[[], object]


@dataclass(frozen=True)
class Part:
    """One part of the bucket's set-up. difference: None when it is right. is_now: what is right, in a few words.

    restricts: making it right refuses requests that were answered before.
    """

    name: str
    is_now: str
    difference: Callable[[], Difference | None]
    restricts: bool = False


@dataclass(frozen=True)
class Step:
    """What happened to a part. outcome: "was right", "made", "changed", "would be made" or "would be changed"."""

    name: str
    outcome: str
    what: str
    restricts: bool = False

    @property
    def is_ahead(self) -> bool:
        """Whether it was only looked at, and something is to be done."""
        return self.outcome.startswith("would")


def restrictions(steps: Sequence[Step]) -> list[Step]:
    """Return the steps that would refuse requests which the bucket answers now; none for a new bucket."""
    bucket, *others = steps
    return [] if bucket.is_ahead else [step for step in others if step.restricts and step.is_ahead]


def location(region: str) -> dict[str, Any]:
    """Return CreateBucket's argument for the region: nothing for us-east-1, which S3 refuses as a location."""
    return {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}


class StateBucket:
    """The bucket that the settings name, as the caller's credentials see it."""

    def __init__(self, session: Session) -> None:
        self.settings = session.settings
        self.name = session.settings.state.bucket
        self.region = session.settings.state.region
        self._session = session
        self._s3 = session.client("s3", self.region)

    def exists(self) -> bool:
        """Return whether the bucket exists.

        Raises OpsError if it is another account's, out of reach, or in another region.
        """
        # First, since S3 answers a HEAD with bad credentials by a bare 400.
        account = self._session.client("sts").get_caller_identity()["Account"]
        try:
            answer = self._s3.head_bucket(Bucket=self.name)
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status == 404:
                return False
            if status == 403:
                raise OpsError(
                    f"the bucket {self.name} exists, but these credentials have no access to it: it belongs to another "
                    "account (bucket names are globally unique), or s3:ListBucket is not allowed on it",
                    fix="set state.bucket to another name, or use its owner's credentials",
                ) from None
            raise
        region = answer.get("BucketRegion") or self.region
        if region != self.region:
            raise OpsError(
                f"the bucket {self.name} is in {region}, but the settings expect it in {self.region}",
                fix=f'set state.region = "{region}", or choose another bucket',
            )
        self._refuse_other_owner(account)
        return True

    def _refuse_other_owner(self, account: str) -> None:
        """Refuse a bucket of another account, whose owner could take the state away."""
        try:
            self._s3.head_bucket(Bucket=self.name, ExpectedBucketOwner=account)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 403:
                raise OpsError(
                    f"the bucket {self.name} belongs to another account; your credentials are for account {account}",
                    fix="set state.bucket to a bucket of your own (ops init proposes one)",
                ) from None
            raise

    def create(self) -> None:
        """Create the bucket and wait until S3 shows it. Raises OpsError when the name is taken."""
        try:
            self._s3.create_bucket(Bucket=self.name, ObjectOwnership="BucketOwnerEnforced", **location(self.region))
        except ClientError as error:
            if error.response["Error"]["Code"] == "BucketAlreadyExists":
                raise OpsError(
                    f"the bucket name {self.name} is taken by another account", fix="set state.bucket to another name"
                ) from None
            raise _refused(error) from None
        self._s3.get_waiter("bucket_exists").wait(Bucket=self.name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})

    def parts(self) -> tuple[Part, ...]:
        """Return every part of the configuration of an existing bucket, in the order in which to fix them."""
        return (
            Part("versioning", "keeps every old state", self._versioning),
            Part("encryption", "on by default", self._encryption),
            Part("owner", "the bucket owner owns every object", self._ownership, restricts=True),
            # Before public policies are blocked: that refuses every new policy while an old one is public.
            Part("policy", "TLS only", self._policy, restricts=True),
            Part("public access", "all four blocks on", self._public_access, restricts=True),
            Part(
                "old states",
                f"deleted after {OLD_STATE_DAYS} days, except the newest {OLD_STATES_KEPT}",
                self._lifecycle,
            ),
            Part("tags", "project, deployment, managed-by", self._tags),
        )

    def make_right(self, *, check: bool) -> Iterator[Step]:
        """Create the bucket or fix its configuration, step by step; with `check`, only report.

        Raises OpsError, ClientError, BotoCoreError.
        """
        if self.exists():
            yield Step("bucket", "was right", f"{self.name} in {self.region}")
        elif check:
            yield Step("bucket", "would be made", f"{self.name} in {self.region}")
            for part in self.parts():
                yield Step(part.name, "would be made", part.is_now)
            return
        else:
            self.create()
            yield Step("bucket", "made", f"{self.name} in {self.region}")
        for part in self.parts():
            try:
                difference = part.difference()
                if difference is None:
                    yield Step(part.name, "was right", part.is_now)
                    continue
                done = "made" if difference.made else "changed"
                if not check:
                    difference.apply()
            except ClientError as error:
                raise _refused(error) from None
            yield Step(part.name, f"would be {done}" if check else done, difference.what, part.restricts)

    def _read(self, call: str, absent: str, **arguments: Any) -> dict[str, Any]:
        """Return the answer to a Get call; empty when S3 answers with the code `absent`."""
        try:
            answer: dict[str, Any] = getattr(self._s3, call)(Bucket=self.name, **arguments)
        except ClientError as error:
            if error.response["Error"]["Code"] == absent:
                return {}
            raise
        answer.pop("ResponseMetadata", None)
        return answer

    def _versioning(self) -> Difference | None:
        status = self._s3.get_bucket_versioning(Bucket=self.name).get("Status")
        if status == "Enabled":
            return None
        return Difference(
            status is None,
            "on" if status is None else f"on (it was {status.lower()})",
            lambda: self._s3.put_bucket_versioning(Bucket=self.name, VersioningConfiguration={"Status": "Enabled"}),
        )

    def _encryption(self) -> Difference | None:
        # Any default will do; a key of the person's own is stronger than ours.
        if self._read("get_bucket_encryption", "ServerSideEncryptionConfigurationNotFoundError"):
            return None
        rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
        return Difference(
            True,
            "SSE-S3 (AES256) by default",
            lambda: self._s3.put_bucket_encryption(
                Bucket=self.name, ServerSideEncryptionConfiguration={"Rules": [rule]}
            ),
        )

    def _ownership(self) -> Difference | None:
        found = self._read("get_bucket_ownership_controls", "OwnershipControlsNotFoundError")
        rules = found.get("OwnershipControls", {}).get("Rules", [])
        now = rules[0]["ObjectOwnership"] if rules else None
        if now == "BucketOwnerEnforced":
            return None
        return Difference(
            now is None,
            "access lists off" + (f" (it was {now})" if now else ""),
            lambda: self._s3.put_bucket_ownership_controls(
                Bucket=self.name, OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
            ),
        )

    def _public_access(self) -> Difference | None:
        found = self._read("get_public_access_block", "NoSuchPublicAccessBlockConfiguration")
        now = found.get("PublicAccessBlockConfiguration", {})
        names = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
        missing = [name for name in names if not now.get(name)]
        if not missing:
            return None
        return Difference(
            not now,
            f"{', '.join(missing)} on" if now else "all four blocks on",
            lambda: self._s3.put_public_access_block(
                Bucket=self.name, PublicAccessBlockConfiguration=dict.fromkeys(names, True)
            ),
        )

    def _policy(self) -> Difference | None:
        found = self._read("get_bucket_policy", "NoSuchBucketPolicy")
        policy: dict[str, Any] = json.loads(found["Policy"]) if found else {"Version": "2012-10-17", "Statement": []}
        statements = policy["Statement"]
        statements = statements if isinstance(statements, list) else [statements]
        ours = {
            "Sid": POLICY_SID,
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [f"arn:aws:s3:::{self.name}", f"arn:aws:s3:::{self.name}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
        others = [each for each in statements if each.get("Sid") != POLICY_SID]
        if [each for each in statements if each.get("Sid") == POLICY_SID] == [ours]:
            return None
        document = json.dumps({**policy, "Statement": [*others, ours]})
        kept = f"; {len(others)} other statement{'s' if len(others) > 1 else ''} kept" if others else ""
        return Difference(
            not found,
            f"requests without TLS are denied{kept}",
            lambda: self._s3.put_bucket_policy(Bucket=self.name, Policy=document),
        )

    @property
    def _rule_id(self) -> str:
        # One rule a prefix: another deployment may keep its states in the same bucket. 255 characters at most.
        return f"ml-infra-{self.settings.state.prefix}"[:255]

    def _lifecycle(self) -> Difference | None:
        found = self._read("get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration")
        rules = found.get("Rules", [])
        ours = {
            "ID": self._rule_id,
            # Only where the states are: what else is in the bucket is not ours to expire.
            "Filter": {"Prefix": f"{self.settings.state.prefix}/"},
            "Status": "Enabled",
            # Locks leave delete markers behind, every time.
            "Expiration": {"ExpiredObjectDeleteMarker": True},
            "NoncurrentVersionExpiration": {
                "NoncurrentDays": OLD_STATE_DAYS,
                "NewerNoncurrentVersions": OLD_STATES_KEPT,
            },
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": BROKEN_UPLOAD_DAYS},
        }
        others = [_second_version(rule) for rule in rules if rule.get("ID") != self._rule_id]
        same = [rule for rule in rules if rule.get("ID") == self._rule_id]
        if len(same) == 1 and all(same[0].get(name) == value for name, value in ours.items()):
            return None
        more = {
            name: found[name] for name in ("TransitionDefaultMinimumObjectSize",) if name in found
        }  # left out, S3 would set it back to its default
        kept = f"; {len(others)} other rule{'s' if len(others) > 1 else ''} kept" if others else ""
        return Difference(
            not same,
            f"deleted after {OLD_STATE_DAYS} days, except the newest {OLD_STATES_KEPT}{kept}",
            lambda: self._s3.put_bucket_lifecycle_configuration(
                Bucket=self.name, LifecycleConfiguration={"Rules": [*others, ours]}, **more
            ),
        )

    def _tags(self) -> Difference | None:
        found = self._read("get_bucket_tagging", "NoSuchTagSet")
        now = {tag["Key"]: tag["Value"] for tag in found.get("TagSet", [])}
        deployment = self.settings.deployment
        wanted = {"project": deployment.project, "deployment": deployment.name, "managed-by": "ops"}
        # A tag that is there may be that of another deployment in the same bucket: the two would change it in turns.
        missing = {name: value for name, value in wanted.items() if name not in now}
        if not missing:
            return None
        tags = [{"Key": name, "Value": value} for name, value in {**now, **missing}.items()]
        return Difference(
            not now,
            ", ".join(f"{name}={value}" for name, value in missing.items()),
            lambda: self._s3.put_bucket_tagging(Bucket=self.name, Tagging={"TagSet": tags}),
        )


def _second_version(rule: dict[str, Any]) -> dict[str, Any]:
    """Return the rule with its prefix in a filter, which means the same.

    S3 takes all rules with a filter or all with a bare prefix: "Filter element can only be used in Lifecycle V2"
    (https://github.com/hashicorp/terraform-provider-aws/issues/23299; API reference, LifecycleRule: "Prefix: no longer
    used; use Filter instead").
    """
    if "Prefix" not in rule:
        return rule
    return {**{name: value for name, value in rule.items() if name != "Prefix"}, "Filter": {"Prefix": rule["Prefix"]}}


def _refused(error: ClientError) -> Exception:
    """Return an OpsError that names the missing permission; any other error unchanged."""
    code, call = error.response["Error"]["Code"], error.operation_name
    if code not in ("AccessDenied", "403", "AllAccessDisabled"):
        return error
    return OpsError(
        f"AWS refused {call} (AccessDenied). Earlier steps stay in place",
        fix=f"allow s3:{_ACTIONS.get(call, call)} on the state bucket for these credentials, or let its owner run ops "
        "bootstrap",
    )
