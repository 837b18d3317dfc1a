"""ops bootstrap: the state bucket made right, again and again, without taking anything away."""

import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pexpect
import pytest
from botocore.exceptions import ClientError

from embedded_aws import control
from ops.core.environment import ROOT
from tests.ops.aws_support import BUCKET, SETTINGS, Answer, Person, Request, clear, front
from tests.ops.support import Finished

NAMES = ["bucket", "versioning", "encryption", "owner", "policy", "public access", "old states", "tags"]


@pytest.fixture
def person(empty_endpoint: control.Endpoint, tmp_path: Path) -> Person:
    clear(empty_endpoint)
    person = Person(tmp_path, empty_endpoint)
    person.write()
    return person


def outcomes(ended: Finished) -> dict[str, str]:
    return {step["name"]: step["outcome"] for step in ended.document["steps"]}


def bucket_now(person: Person, region: str = "us-east-1") -> dict[str, Any]:
    """Everything of the bucket that bootstrap has a hand in, as S3 tells it."""
    s3 = person.aws("s3", region)
    return {
        "versioning": s3.get_bucket_versioning(Bucket=BUCKET).get("Status"),
        "encryption": s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"],
        "owner": s3.get_bucket_ownership_controls(Bucket=BUCKET)["OwnershipControls"]["Rules"],
        "policy": json.loads(s3.get_bucket_policy(Bucket=BUCKET)["Policy"])["Statement"],
        "public": s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"],
        "rules": s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"],
        "tags": {tag["Key"]: tag["Value"] for tag in s3.get_bucket_tagging(Bucket=BUCKET)["TagSet"]},
    }


TLS_ONLY = {
    "Sid": "MlInfraTlsOnly",
    "Effect": "Deny",
    "Principal": "*",
    "Action": "s3:*",
    "Resource": [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"],
    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
}
OLD_STATES = {
    "ID": "ml-infra-ml-core",
    "Status": "Enabled",
    "Filter": {"Prefix": "ml-core/"},
    "Expiration": {"ExpiredObjectDeleteMarker": True},
    "NoncurrentVersionExpiration": {"NoncurrentDays": 90, "NewerNoncurrentVersions": 10},
    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
}
RIGHT = {
    "versioning": "Enabled",
    "owner": [{"ObjectOwnership": "BucketOwnerEnforced"}],
    "policy": [TLS_ONLY],
    "public": {
        "BlockPublicAcls": True,
        "IgnorePublicAcls": True,
        "BlockPublicPolicy": True,
        "RestrictPublicBuckets": True,
    },
    "rules": [OLD_STATES],
    "tags": {"project": "msls-dcgan", "deployment": "ml-core", "managed-by": "ops"},
}


def test_a_bucket_is_made_and_made_right(person: Person) -> None:
    ended = person.ops("bootstrap", "--json")

    assert ended.status == 0
    assert list(outcomes(ended)) == NAMES
    assert ended.document["right"] is True
    now = bucket_now(person)
    algorithm = now.pop("encryption")[0]["ApplyServerSideEncryptionByDefault"]
    assert algorithm == {"SSEAlgorithm": "AES256"}
    assert now == RIGHT


def test_the_second_run_finds_everything_right(person: Person) -> None:
    person.ops("bootstrap")
    before = bucket_now(person)

    ended = person.ops("bootstrap", "--json")

    assert outcomes(ended) == dict.fromkeys(NAMES, "was right")
    assert bucket_now(person) == before
    assert person.ops("bootstrap", "--check").status == 0


def test_check_says_what_would_be_made_and_makes_nothing(person: Person) -> None:
    ended = person.ops("bootstrap", "--check", "--json")

    assert ended.status == 1
    assert outcomes(ended) == dict.fromkeys(NAMES, "would be made")
    assert person.aws("s3").list_buckets()["Buckets"] == []


def test_check_says_what_would_be_changed_and_changes_nothing(person: Person) -> None:
    person.ops("bootstrap")
    s3 = person.aws("s3")
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"})
    before = bucket_now(person)

    ended = person.ops("bootstrap", "--check", "--json")

    assert ended.status == 1
    assert outcomes(ended) == {**dict.fromkeys(NAMES, "was right"), "versioning": "would be changed"}
    assert bucket_now(person) == before


def test_only_what_differs_is_changed(person: Person) -> None:
    person.ops("bootstrap")
    s3 = person.aws("s3")
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"})
    s3.put_public_access_block(
        Bucket=BUCKET, PublicAccessBlockConfiguration={"BlockPublicAcls": True, "BlockPublicPolicy": False}
    )

    ended = person.ops("bootstrap", "--yes", "--json")

    assert outcomes(ended) == {**dict.fromkeys(NAMES, "was right"), "versioning": "changed", "public access": "changed"}
    now = bucket_now(person)
    assert (now["versioning"], now["public"]) == ("Enabled", RIGHT["public"])


def test_what_others_put_on_the_bucket_stays(person: Person) -> None:
    s3 = person.aws("s3")
    s3.create_bucket(Bucket=BUCKET)
    theirs = {
        "Sid": "Theirs",
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{BUCKET}/*",
    }
    old_ours = {**TLS_ONLY, "Action": "s3:GetObject"}
    policy = {"Version": "2012-10-17", "Statement": [theirs, old_ours]}
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))
    rule = {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 5}}
    s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": [rule]})
    s3.put_bucket_tagging(
        Bucket=BUCKET, Tagging={"TagSet": [{"Key": "team", "Value": "x"}, {"Key": "deployment", "Value": "another"}]}
    )
    key = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "alias/theirs"}}
    s3.put_bucket_encryption(Bucket=BUCKET, ServerSideEncryptionConfiguration={"Rules": [key]})
    s3.put_object(Bucket=BUCKET, Key="theirs", Body=b"kept")

    ended = person.ops("bootstrap", "--yes", "--json")

    assert ended.status == 0
    now = bucket_now(person)
    assert now["policy"] == [theirs, TLS_ONLY]
    assert now["rules"] == [rule, OLD_STATES]
    # Another deployment keeps its states here too: its name stays.
    assert now["tags"] == {"team": "x", "deployment": "another", "project": "msls-dcgan", "managed-by": "ops"}
    assert now["encryption"][0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    assert s3.get_object(Bucket=BUCKET, Key="theirs")["Body"].read() == b"kept"
    assert set(outcomes(person.ops("bootstrap", "--json")).values()) == {"was right"}


def asked(person: Person, answer: str) -> tuple[int, str]:
    """Runs it on a terminal and gives the answer; the exit status and what it said."""
    child = pexpect.spawn(
        sys.executable,
        ["-m", "ops", "bootstrap"],
        cwd=str(ROOT),
        env=person.environment(TERM="dumb"),
        encoding="utf-8",
        timeout=100,
        dimensions=(40, 80),
    )
    child.expect(r"Apply these changes\? \[y/N\]: ")
    said = str(child.before)
    child.sendline(answer)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus is not None
    return child.exitstatus, f"{said}{child.before}"


def untouched(person: Person) -> bool:
    s3 = person.aws("s3")
    with pytest.raises(ClientError, match="NoSuchBucketPolicy"):
        s3.get_bucket_policy(Bucket=BUCKET)
    return "Status" not in s3.get_bucket_versioning(Bucket=BUCKET)


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_a_bucket_that_is_there_is_not_restricted_where_nobody_can_agree(
    person: Person, arguments: tuple[str, ...]
) -> None:
    person.aws("s3").create_bucket(Bucket=BUCKET, ObjectOwnership="ObjectWriter")

    ended = person.ops("bootstrap", *arguments)

    assert ended.status == 1
    assert (
        f"the bucket {BUCKET} exists already; changing owner, policy, public access would block public access and "
        "plain HTTP"
    ) in ended.err
    assert "ops bootstrap --check shows the steps, ops bootstrap --yes applies them" in ended.err
    assert untouched(person)


def test_a_bucket_that_is_there_is_restricted_with_yes(person: Person) -> None:
    person.aws("s3").create_bucket(Bucket=BUCKET, ObjectOwnership="ObjectWriter")

    ended = person.ops("bootstrap", "--yes", "--json")

    assert (ended.status, ended.document["right"]) == (0, True)
    now = bucket_now(person)
    assert (now["owner"], now["policy"], now["public"]) == (RIGHT["owner"], RIGHT["policy"], RIGHT["public"])


def test_a_person_sees_the_steps_and_is_asked(person: Person) -> None:
    person.aws("s3").create_bucket(Bucket=BUCKET, ObjectOwnership="ObjectWriter")

    status, said = asked(person, "")

    assert status == 1
    assert "access lists off (it was ObjectWriter)" in said
    assert "would be made" in said
    assert "ops: nothing was changed" in said
    assert untouched(person)

    status, said = asked(person, "y")

    assert status == 0
    assert "The state bucket is ready." in said
    assert set(outcomes(person.ops("bootstrap", "--json")).values()) == {"was right"}


def test_what_restricts_nobody_is_done_without_a_question(person: Person) -> None:
    person.ops("bootstrap")
    person.aws("s3").delete_bucket_lifecycle(Bucket=BUCKET)

    ended = person.ops("bootstrap", "--json")

    assert outcomes(ended) == {**dict.fromkeys(NAMES, "was right"), "old states": "made"}


def test_rules_of_others_in_the_first_version_come_in_the_second(person: Person) -> None:
    person.ops("bootstrap")
    s3, sent = person.aws("s3"), []
    # moto keeps what it is given; S3 refuses a bare prefix beside a filter.
    logs = {"ID": "logs", "Status": "Enabled", "Prefix": "logs/", "Expiration": {"Days": 5}}
    everything = {"ID": "all", "Status": "Disabled", "Prefix": "", "Expiration": {"Days": 9}}
    s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": [logs, everything]})

    def record(request: Request) -> None:
        sent.append(ElementTree.fromstring(request.body))

    with front(person.endpoint, {f"PUT /{BUCKET}?lifecycle": record}) as url:
        assert person.ops("bootstrap", AWS_ENDPOINT_URL=url).status == 0

    (payload,) = sent
    space = "{http://s3.amazonaws.com/doc/2006-03-01/}"
    rules = payload.findall(f"{space}Rule")
    assert [
        (rule.findtext(f"{space}ID"), rule.findtext(f"{space}Filter/{space}Prefix"), rule.find(f"{space}Prefix"))
        for rule in rules
    ] == [("logs", "logs/", None), ("all", "", None), ("ml-infra-ml-core", "ml-core/", None)]
    assert [rule.findtext(f"{space}Status") for rule in rules] == ["Enabled", "Disabled", "Enabled"]
    assert [rule.findtext(f"{space}Expiration/{space}Days") for rule in rules] == ["5", "9", None]


def test_two_prefixes_in_one_bucket_have_a_rule_each(person: Person) -> None:
    person.ops("bootstrap")
    person.ops("bootstrap", ML_INFRA_STATE__PREFIX="second")

    rules = {rule["ID"]: rule["Filter"]["Prefix"] for rule in bucket_now(person)["rules"]}

    assert rules == {"ml-infra-ml-core": "ml-core/", "ml-infra-second": "second/"}


@pytest.mark.parametrize("statement", [None, "one"])
def test_a_policy_of_a_single_statement_is_kept(person: Person, statement: str | None) -> None:
    s3 = person.aws("s3")
    s3.create_bucket(Bucket=BUCKET)
    theirs = {"Effect": "Deny", "Principal": "*", "Action": "s3:DeleteBucket", "Resource": f"arn:aws:s3:::{BUCKET}"}
    policy = {"Version": "2012-10-17", "Statement": theirs if statement else [theirs]}
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))

    assert person.ops("bootstrap", "--yes").status == 0

    assert bucket_now(person)["policy"] == [theirs, TLS_ONLY]


def test_outside_us_east_1_the_bucket_is_where_the_state_is(person: Person) -> None:
    person.write('[deployment]\nregion = "us-west-2"\n' + SETTINGS + 'region = "eu-central-1"\n')

    ended = person.ops("bootstrap", "--json")

    assert (ended.status, ended.document["region"]) == (0, "eu-central-1")
    assert person.aws("s3").get_bucket_location(Bucket=BUCKET)["LocationConstraint"] == "eu-central-1"


def test_a_bucket_in_another_region_is_told_with_the_way_out(person: Person) -> None:
    person.aws("s3", "eu-west-1").create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )

    ended = person.ops("bootstrap")

    assert ended.status == 1
    assert f"the bucket {BUCKET} is in eu-west-1, but the settings expect it in us-east-1" in ended.err
    assert 'set state.region = "eu-west-1"' in ended.err


def test_a_bucket_that_cannot_be_seen_is_told_with_the_way_out(person: Person) -> None:
    # S3 answers 403 for the bucket of another account; a HEAD has no body.
    with front(person.endpoint, {f"HEAD /{BUCKET}": lambda _: Answer.head(403)}) as url:
        ended = person.ops("bootstrap", AWS_ENDPOINT_URL=url)

    assert ended.status == 1
    assert "it belongs to another account" in ended.err
    assert "set state.bucket to another name" in ended.err


def test_a_bucket_of_another_account_that_lets_us_in_is_refused(person: Person) -> None:
    person.aws("s3").create_bucket(Bucket=BUCKET)

    def owner_check(request: Request) -> Answer | None:
        return Answer.head(403) if request.headers.get("x-amz-expected-bucket-owner") == "123456789012" else None

    with front(person.endpoint, {f"HEAD /{BUCKET}": owner_check}) as url:
        ended = person.ops("bootstrap", AWS_ENDPOINT_URL=url)

    assert ended.status == 1
    assert f"the bucket {BUCKET} belongs to another account; your credentials are for account 123456789012" in ended.err
    with pytest.raises(ClientError, match="NoSuchTagSet"):
        person.aws("s3").get_bucket_tagging(Bucket=BUCKET)


def test_a_name_that_is_taken_is_told(person: Person) -> None:
    rules = {f"PUT /{BUCKET}": lambda _: Answer.xml_error("BucketAlreadyExists", 409)}
    with front(person.endpoint, rules) as url:
        ended = person.ops("bootstrap", AWS_ENDPOINT_URL=url)

    assert ended.status == 1
    assert ended.said == f"ops: the bucket name {BUCKET} is taken by another account: set state.bucket to another name"


@pytest.mark.parametrize(
    ("call", "permission"),
    [
        (f"PUT /{BUCKET}", "s3:CreateBucket"),
        (f"PUT /{BUCKET}?versioning", "s3:PutBucketVersioning"),
        (f"PUT /{BUCKET}?encryption", "s3:PutEncryptionConfiguration"),
        (f"PUT /{BUCKET}?policy", "s3:PutBucketPolicy"),
        (f"PUT /{BUCKET}?publicAccessBlock", "s3:PutBucketPublicAccessBlock"),
        (f"GET /{BUCKET}?lifecycle", "s3:GetLifecycleConfiguration"),
        (f"PUT /{BUCKET}?tagging", "s3:PutBucketTagging"),
    ],
)
def test_a_missing_permission_is_told_by_its_name(person: Person, call: str, permission: str) -> None:
    with front(person.endpoint, {call: lambda _: Answer.xml_error("AccessDenied")}) as url:
        ended = person.ops("bootstrap", "--json", AWS_ENDPOINT_URL=url)

    assert ended.status == 1
    assert f"allow {permission} on the state bucket" in ended.document["error"]
    assert "Traceback" not in ended.err


def test_expired_credentials_are_told(person: Person) -> None:
    with front(person.endpoint, {"GetCallerIdentity": lambda _: Answer.xml_error("ExpiredToken")}) as url:
        ended = person.ops("bootstrap", AWS_ENDPOINT_URL=url)

    assert ended.status == 1
    assert "the credentials have expired (ExpiredToken): log in again" in ended.err


def test_refused_settings_are_told(person: Person) -> None:
    person.write("[state]\n")

    ended = person.ops("bootstrap")

    assert ended.status == 1
    assert "state.bucket" in ended.err
    assert "This setting is required but not set" in ended.err
