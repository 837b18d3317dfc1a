"""ops doctor: every problem made on purpose, one test each; what cannot be known is never shown as ok."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.sax.saxutils import escape

import pytest
from botocore.exceptions import ReadTimeoutError

from constructs_lib.instance_types import INSTANCE_TYPES
from embedded_aws import control
from ops.core import synthesis
from ops.core.environment import ROOT
from ops.core.stack_names import STACKS
from ops.doctor import key_pair, repositories, tools
from ops.doctor.quotas import limit, on_demand_quota, spot_quota
from tests.ops.aws_support import (
    BUCKET,
    KEY_PAIR,
    SETTINGS,
    Answer,
    Person,
    Request,
    Rule,
    clear,
    front,
    older_commit,
    reset,
)
from tests.ops.support import Finished

pytestmark = pytest.mark.system

IAM_USER = "arn:aws:iam::123456789012:user/deployer"


@dataclass
class Account:
    """An account with the state bucket and the key pair, made again after a test that changed it."""

    endpoint: control.Endpoint
    key: Path
    changed: set[str] = field(default_factory=lambda: {"everything"})

    def prepare(self, person: Person) -> None:
        if not self.changed:
            return
        if self.changed <= {"s3", "key pairs"}:
            clear(self.endpoint)
        else:
            reset(self.endpoint)
        import_key(person, KEY_PAIR, self.key)
        assert person.ops("bootstrap").status == 0


@pytest.fixture(scope="module")
def account(empty_endpoint: control.Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Account:
    key = tmp_path_factory.mktemp("keys") / KEY_PAIR
    new_key(key)
    return Account(empty_endpoint, key)


@pytest.fixture
def person(account: Account, tmp_path: Path) -> Iterator[Person]:
    """Somebody who has everything: bucket, key pair, its private key. What each test takes away is the problem."""
    person = Person(tmp_path, account.endpoint)
    person.write()
    key_file = tmp_path / ".ssh" / f"{KEY_PAIR}.pem"
    key_file.parent.mkdir(mode=0o700)
    shutil.copy(account.key, key_file)
    shutil.copy(account.key.with_name("public"), key_file.with_name("public"))
    account.prepare(person)
    person.touched.clear()
    yield person
    account.changed = person.touched


@pytest.fixture(autouse=True)
def no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stacks without any resource, whose names are not looked for: tests/ops/test_doctor_names.py does that."""
    monkeypatch.setattr(synthesis, "synthesized", lambda _: {stack: {} for stack in STACKS})


def new_key(file: Path, passphrase: str = "") -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "", "-f", str(file)]
    subprocess.run(command, check=True, timeout=60)
    file.with_name(f"{file.name}.pub").rename(file.with_name("public"))


def import_key(person: Person, name: str, file: Path, region: str = "us-east-1") -> None:
    material = file.with_name("public").read_bytes()
    key_pairs(person, region).import_key_pair(KeyName=name, PublicKeyMaterial=material)


def key_pairs(person: Person, region: str = "us-east-1") -> Any:
    """EC2, for nothing else than key pairs."""
    client = person.aws("ec2", region)
    if region == "us-east-1":
        person.touched = person.touched - {"ec2"} | {"key pairs"}
    return client


def finding(ended: Finished, subject: str) -> tuple[str, str, str | None]:
    """State, detail and fix of the one finding with this subject."""
    found = [each for each in ended.document["findings"] if each["subject"] == subject]
    assert len(found) == 1, ended.out
    return found[0]["state"], found[0]["detail"], found[0]["fix"]


def problems(ended: Finished) -> list[str]:
    return [each["subject"] for each in ended.document["findings"] if each["state"] == "problem"]


def is_the_only_problem(ended: Finished, subject: str, detail: str, fix: str) -> None:
    """The problem is told, with its fix, as the exit status, and no other one is."""
    assert problems(ended) == [subject]
    state, said, way_out = finding(ended, subject)
    assert state == "problem"
    assert detail in said
    assert way_out is not None
    assert fix in way_out
    assert ended.status == 1


# --- answers of services that the embedded AWS does not have


def quotas(values: Mapping[str, float], defaults: Mapping[str, float] | None = None) -> dict[str, Rule]:
    """Service Quotas: `values` are the account's own, `defaults` AWS's, as the API reference gives their answers."""

    def answer(known: Mapping[str, float]) -> Rule:
        def rule(request: Request) -> Answer:
            code = request.json["QuotaCode"]
            if code not in known:
                return Answer.json_error("NoSuchResourceException")
            return Answer.of({"Quota": {"QuotaCode": code, "Value": known[code]}})

        return rule

    return {"GetServiceQuota": answer(values), "GetAWSDefaultServiceQuota": answer(defaults or {})}


def notebook_quota(value: float, name: str = "ml.t3.medium for notebook instance usage") -> dict[str, Rule]:
    """Service Quotas: the list of SageMaker's, on two pages."""

    def rule(request: Request) -> Answer:
        if "NextToken" not in request.json:
            other = {"QuotaName": "ml.t3.medium for endpoint usage", "QuotaCode": "L-1", "Value": 9.0}
            return Answer.of({"Quotas": [other], "NextToken": "more"})
        return Answer.of({"Quotas": [{"QuotaName": name, "QuotaCode": "L-NB", "Value": value}]})

    return {"ListServiceQuotas": rule}


PLENTY = {
    "L-1216C47A": 64.0,
    "L-DB2E81BA": 64.0,
    "L-34B43A08": 64.0,
    "L-3819A6DF": 64.0,
    "L-0263D0A3": 5.0,
    "L-F678F1CE": 5.0,
}


def identity(arn: str) -> dict[str, Rule]:
    """sts:GetCallerIdentity."""
    body = (
        '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
        f"<Arn>{arn}</Arn><UserId>AIDA</UserId><Account>123456789012</Account></GetCallerIdentityResult>"
        "<ResponseMetadata><RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId></ResponseMetadata>"
        "</GetCallerIdentityResponse>"
    )
    return {"GetCallerIdentity": lambda _: Answer(200, body.encode(), "text/xml")}


def simulation(
    denied: Mapping[str, str] | None = None,
    missing: Mapping[str, str] | None = None,
    seen: list[Mapping[str, list[str]]] | None = None,
    organization: bool = True,
) -> dict[str, Rule]:
    """iam:SimulatePrincipalPolicy: allows all but `denied` (action -> decision) and `missing` (action -> key)."""

    def result(action: str) -> str:
        decision = (denied or {}).get(action, "implicitDeny" if action in (missing or {}) else "allowed")
        keys = f"<member>{(missing or {})[action]}</member>" if action in (missing or {}) else ""
        allowed = "true" if organization else "false"
        return (
            f"<member><EvalActionName>{escape(action)}</EvalActionName><EvalDecision>{decision}</EvalDecision>"
            f"<MissingContextValues>{keys}</MissingContextValues><OrganizationsDecisionDetail>"
            f"<AllowedByOrganizations>{allowed}</AllowedByOrganizations></OrganizationsDecisionDetail></member>"
        )

    def rule(request: Request) -> Answer:
        if seen is not None:
            seen.append(request.form)
        actions = [value[0] for key, value in request.form.items() if key.startswith("ActionNames.member.")]
        body = (
            '<SimulatePrincipalPolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">'
            "<SimulatePrincipalPolicyResult><IsTruncated>false</IsTruncated><EvaluationResults>"
            + "".join(result(action) for action in actions)
            + "</EvaluationResults></SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>"
        )
        return Answer(200, body.encode(), "text/xml")

    return {"SimulatePrincipalPolicy": rule}


def behind(person: Person, rules: Mapping[str, Rule], *arguments: str, **more: str) -> Finished:
    """What doctor says of an AWS that answers as `rules` say; `more` are variables."""
    with front(person.endpoint, rules) as url:
        person.variables = {**more, "AWS_ENDPOINT_URL": url}
        return person.ops("doctor", *arguments, "--json")


# --- all is well


def test_where_all_is_well_every_line_is_ok(person: Person) -> None:
    ended = behind(person, quotas(PLENTY) | notebook_quota(1) | identity(IAM_USER) | simulation())

    assert {each["state"] for each in ended.document["findings"]} == {"ok"}, ended.out
    assert ended.status == 0
    subjects = {each["subject"] for each in ended.document["findings"]}
    assert {"terraform", "AWS provider", "node", "cdktf", "ssh", "credentials", "clock"} <= subjects
    assert {"state bucket", "state locks", "key pair", "private key", "zones"} <= subjects
    assert {"jump: type", "metrics: type", "worker: type", "jump: image", "metrics: image", "worker: image"} <= subjects
    assert {
        "vCPU: Standard",
        "vCPU: G and VT",
        "spot: Standard",
        "spot: G and VT",
        "Elastic IPs",
        "VPCs",
        "notebook",
        "permissions: train-model-dev",
        "training code",
        "notebook code",
    } <= subjects


def test_a_stack_is_examined_alone(person: Person) -> None:
    with_core = behind(person, quotas(PLENTY) | identity(IAM_USER) | simulation(), "mlcore")

    subjects = {each["subject"] for each in with_core.document["findings"]}
    assert with_core.document["stacks"] == ["mlcore"]
    assert {"jump: type", "permissions: mlcore", "VPCs"} <= subjects
    assert not any(subject.startswith(("worker", "metrics", "permissions: t")) for subject in subjects)
    assert "vCPU: G and VT" not in subjects


def test_what_the_embedded_aws_cannot_tell_is_left_out_and_said(person: Person) -> None:
    """After `make local` there is nothing to worry a person, and nothing that was not asked is called ok."""
    ended = person.ops("doctor", "--json")

    assert ended.status == 0
    left_out = (
        *("vCPU: Standard", "vCPU: G and VT", "spot: Standard", "spot: G and VT", "Elastic IPs", "notebook"),
        "permissions",
    )
    assert finding(ended, "embedded AWS") == (
        "ok",
        f"does not implement these checks, so they were skipped: {', '.join(left_out)}",
        None,
    )
    assert not {each["subject"] for each in ended.document["findings"]} & set(left_out)


def test_the_report_reads_well_at_80_columns(person: Person) -> None:
    key_pairs(person).delete_key_pair(KeyName=KEY_PAIR)

    ended = person.process("doctor", "train-model-dev")

    assert max(len(line) for line in ended.out.splitlines()) <= 80
    assert re.search(r"^problem +key pair +EC2 has no key pair a-key in us-east-1 *$", ended.out, re.MULTILINE)
    assert re.search(r"^ +→ ops init --key-pair NAME", ended.out, re.MULTILINE)
    assert re.search(r"^\d+ ok, 2 problems, \d unknown$", ended.out.splitlines()[-1])  # mlcore is not deployed either


def test_an_unknown_stack_is_a_wrong_command_line(person: Person) -> None:
    ended = person.ops("doctor", "stats-monitr")

    assert (ended.status, ended.out) == (2, "")
    assert "did you mean stats-monitor?" in ended.err


def test_refused_settings_are_a_problem_and_the_tools_are_looked_at_all_the_same(person: Person) -> None:
    person.write(SETTINGS.replace(BUCKET, "A_Bucket"))

    ended = person.ops("doctor", "--json")

    is_the_only_problem(ended, "settings", "Did you mean a-bucket?", "ops init")
    assert finding(ended, "terraform")[0] == "ok"
    assert finding(ended, "credentials")[0] == "ok"
    assert finding(ended, "the rest")[0] == "unknown"


# --- repositories

REVISION = "ML_INFRA_TRAIN_MODEL__TRAINING_REVISION"
REPOSITORY = "ML_INFRA_TRAIN_MODEL__TRAINING_REPOSITORY"
NOTEBOOK = "ML_INFRA_TRAIN_MODEL_DEV__CODE_REPOSITORY"
DCGAN = "https://github.com/DMW2151/msls-pytorch-dcgan"


def code(person: Person, subject: str = "training code", **variables: str) -> tuple[str, str, str | None]:
    stack = {"training code": "train-model", "notebook code": "train-model-dev"}[subject]
    return finding(person.ops("doctor", stack, "--json", stdin="", **variables), subject)


def test_a_revision_that_is_there(person: Person) -> None:
    older = older_commit()
    for revision in ("main", "v1", "refs/heads/main", "refs/tags/v1", "heads/main"):
        assert code(person, **{REVISION: revision}) == ("ok", f"{revision} of {DCGAN}", None)
    assert code(person, **{REVISION: older}) == ("ok", f"{older[:12]} of {DCGAN}", None)
    assert code(person, "notebook code") == ("ok", DCGAN, None)


@pytest.mark.parametrize("revision", ["mian", "v2", "ain", "refs/heads/v1"])
def test_a_name_that_is_not_there(person: Person, revision: str) -> None:
    state, detail, fix = code(person, **{REVISION: revision})

    assert (state, detail) == ("problem", f"{DCGAN} has no tag or branch {revision}")
    assert fix == f"set train_model.training_revision to one of: git ls-remote --tags --heads {DCGAN}"


def test_a_commit_that_is_not_there(person: Person) -> None:
    state, detail, _ = code(person, **{REVISION: "0ca5ec37e61831a4dff3b3aea1b42a4415340f76"})

    assert state == "problem"
    assert detail.startswith(f"{DCGAN} has no commit 0ca5ec37e61831a4dff3b3aea1b42a4415340f76 (fatal: ")


@pytest.mark.parametrize(("subject", "variable"), [("training code", REPOSITORY), ("notebook code", NOTEBOOK)])
def test_a_repository_that_is_not_there(person: Person, subject: str, variable: str) -> None:
    url = "https://github.com/DMW2151/gone"

    state, detail, fix = code(person, subject, **{variable: url})

    assert state == "problem"
    assert detail.startswith(f"{url} is not a public repository (fatal: ")
    assert fix is not None
    assert fix.endswith("private repositories are not supported")


def test_a_server_that_does_not_answer_is_unknown(person: Person) -> None:
    state, detail, _ = code(person, **{REPOSITORY: "https://127.0.0.1:9/a/b"})

    assert state == "unknown"
    assert detail.startswith("https://127.0.0.1:9/a/b does not answer (fatal: unable to access")


def test_without_git_it_is_unknown(person: Person) -> None:
    assert code(person, PATH=path_without(person)) == ("unknown", "git is not on the PATH", "install git")


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        # git 2.39, of github.com and gitlab.com, of a path that is not there, of a page that is no repository.
        ("fatal: could not read Username for 'https://git.example': terminal prompts disabled", True),
        ("fatal: Authentication failed for 'https://git.example/a/b/'", True),
        ("fatal: repository 'https://git.example/a/b/' not found", True),
        ("fatal: https://git.example/a/b/info/refs not valid: is this a git repository?", True),
        # Of what stands between.
        ("fatal: could not read Username for 'http://proxy.example:3128': terminal prompts disabled", False),
        ("fatal: unable to access 'https://git.example/a/b/': Could not resolve host: git.example", False),
        ("fatal: unable to access 'https://git.example/a/b/': Received HTTP code 407 from proxy after CONNECT", False),
    ],
)
def test_what_git_says_of_a_repository_that_is_not_there(said: str, meant: bool) -> None:
    assert any(phrase in said for phrase in repositories.no_repository("https://git.example/a/b")) == meant


# --- buckets of data

DATA = {
    "ML_INFRA_TRAIN_MODEL__DATA_S3_URI": "s3://my-pictures/imgs",
    "ML_INFRA_TRAIN_MODEL__OUTPUT_S3_URI": "s3://my-results/runs",
}


def test_the_buckets_of_the_data_are_there(person: Person) -> None:
    s3 = person.aws("s3")
    for name in ("my-pictures", "my-results"):
        s3.create_bucket(Bucket=name)
    s3.put_object(Bucket="my-pictures", Key="imgs/1.png", Body=b"")

    ended = person.ops("doctor", "train-model", "--json", stdin="", **DATA)

    assert finding(ended, "worker: data") == ("ok", "s3://my-pictures/imgs", None)
    assert finding(ended, "worker: results") == ("ok", "s3://my-results/runs, still empty", None)


def test_a_bucket_of_data_that_is_not_there(person: Person) -> None:
    ended = person.ops("doctor", "train-model", "--json", stdin="", **DATA)

    assert finding(ended, "worker: data") == (
        "problem",
        "the bucket my-pictures (train_model.data_s3_uri) does not exist",
        "correct train_model.data_s3_uri, or: aws s3api create-bucket --bucket my-pictures",
    )
    assert finding(ended, "worker: results")[0] == "problem"


def test_a_bucket_of_somebody_else_is_unknown(person: Person) -> None:
    forbidden: dict[str, Rule] = {"HEAD /not-mine": lambda _: Answer.head(403)}

    ended = behind(person, forbidden, "train-model", ML_INFRA_TRAIN_MODEL__DATA_S3_URI="s3://not-mine/imgs")

    state, detail, _ = finding(ended, "worker: data")
    assert (state, "may not list not-mine (train_model.data_s3_uri)" in detail) == ("unknown", True)


# --- tools


def path_without(person: Person, *hidden: str) -> str:
    """A PATH with everything that doctor runs but `hidden`."""
    folder = person.home / "bin"
    folder.mkdir()
    for program in {"terraform", "ssh", "ssh-keygen", "ssh-add", "rsync"} - set(hidden):
        found = shutil.which(program)
        assert found is not None
        (folder / program).symlink_to(found)
    return str(folder)


def test_no_terraform(person: Person) -> None:
    ended = person.ops("doctor", "--json", PATH=path_without(person, "terraform"))

    is_the_only_problem(ended, "terraform", "terraform is not on the PATH", "install 1.11 or newer, see https://")


def test_an_old_terraform(person: Person) -> None:
    path = path_without(person, "terraform")
    old = Path(path) / "terraform"
    old.write_text('#!/bin/sh\necho \'{"terraform_version": "1.10.5"}\'\n', encoding="utf-8")
    old.chmod(0o755)

    ended = person.ops("doctor", "--json", PATH=path)

    is_the_only_problem(ended, "terraform", "terraform 1.10.5", "https://developer.hashicorp.com/terraform/install")


def test_no_provider(person: Person) -> None:
    ended = person.ops("doctor", "--json", ML_INFRA_PROVIDER_MIRROR=str(person.home))

    is_the_only_problem(
        ended, "AWS provider", "has no registry.terraform.io/hashicorp/aws/5.100.0 in it", "set it to the folder"
    )


def test_no_ssh(person: Person) -> None:
    ended = person.ops("doctor", "--json", PATH=path_without(person, "ssh"))

    is_the_only_problem(ended, "ssh", "ssh is not on the PATH", "install the OpenSSH client")


def test_no_rsync(person: Person) -> None:
    without = path_without(person, "rsync")

    is_the_only_problem(
        person.ops("doctor", "--json", PATH=without), "rsync", "ops push and ops pull need it", "apt-get install rsync"
    )
    assert problems(person.ops("doctor", "mlcore", "stats-monitor", "--json", PATH=without)) == []


def test_an_rsync_that_cannot_go_on(person: Person) -> None:
    """As macOS has it."""
    old = person.home / "old"
    old.mkdir()
    (old / "rsync").write_text("#!/bin/sh\necho 'openrsync: protocol version 29'\n", encoding="utf-8")
    (old / "rsync").chmod(0o755)
    ended = person.ops("doctor", "train-model", "--json", PATH=f"{old}{os.pathsep}{os.environ['PATH']}")

    state, said, fix = finding(ended, "rsync")
    assert state == "problem"
    assert f"{old}/rsync is not rsync 3.1 or newer (openrsync: protocol version 29)" in said
    assert fix is not None
    assert "brew install rsync" in fix


def test_session_manager_is_for_who_wants_it(person: Person) -> None:
    there = person.home / "programs"
    there.mkdir()
    (there / "aws").write_text("#!/bin/sh\n", encoding="utf-8")
    (there / "aws").chmod(0o755)
    path = f"{there}{os.pathsep}{path_without(person, 'session-manager-plugin')}"

    ended = person.ops("doctor", "train-model", "--json", PATH=path)

    assert finding(ended, "Session Manager") == (
        "ok",
        "not installed: session-manager-plugin; needed only for --via ssm of ops ssh, push, pull and tunnel",
        None,
    )


def project(folder: Path, *, node: str, cli: str) -> Path:
    """A checkout with these versions of Node and the CLI in it, and what package.json says of them."""
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / "node_modules" / ".bin").mkdir(parents=True)
    (folder / "node_modules" / "cdktf-cli").mkdir()
    for program, said in ((".venv/bin/node", node), ("node_modules/.bin/cdktf", cli)):
        (folder / program).write_text(f"#!/bin/sh\necho {said}\n", encoding="utf-8")
        (folder / program).chmod(0o755)
    (folder / "node_modules" / "cdktf-cli" / "package.json").write_text(json.dumps({"version": cli}), encoding="utf-8")
    pins = {"engines": {"node": ">=22.19"}, "dependencies": {"cdktf-cli": "0.21.0"}}
    (folder / "package.json").write_text(json.dumps(pins), encoding="utf-8")
    return folder


@pytest.mark.parametrize("version", ["v22.19.0", "v22.20.1", "v22.100.0"])
def test_the_versions_that_package_json_asks_for(tmp_path: Path, version: str) -> None:
    found = list(tools.cdktf(project(tmp_path, node=version, cli="0.21.0")))

    assert [(each.subject, each.state, each.detail) for each in found] == [
        ("node", "ok", version),
        ("cdktf", "ok", "0.21.0"),
    ]


@pytest.mark.parametrize("version", ["v22.18.9", "v20.19.0", "v24.1.0", "v9.0.0"])
def test_a_node_that_the_cli_does_not_run_on(tmp_path: Path, version: str) -> None:
    found = {each.subject: each for each in tools.cdktf(project(tmp_path, node=version, cli="0.21.0"))}

    assert (found["node"].state, found["node"].fix) == ("problem", "make setup")
    assert found["node"].detail == f"{version}, but the cdktf CLI needs 22.19 or a newer 22"
    assert found["cdktf"].state == "ok"


@pytest.mark.parametrize("version", ["0.20.12", "0.21.0-pre.1", "0.22.0"])
def test_another_cdktf_than_the_pinned_one(tmp_path: Path, version: str) -> None:
    found = {each.subject: each for each in tools.cdktf(project(tmp_path, node="v22.20.0", cli=version))}

    assert (found["cdktf"].state, found["cdktf"].fix) == ("problem", "make setup")
    assert found["cdktf"].detail == f"{version} is installed, but package.json pins 0.21.0"
    assert found["node"].state == "ok"


def test_a_package_json_that_cannot_be_read(tmp_path: Path) -> None:
    (project(tmp_path, node="v22.20.0", cli="0.21.0") / "package.json").write_text("{}", encoding="utf-8")

    assert [(each.subject, each.state) for each in tools.cdktf(tmp_path)] == [("cdktf", "problem")]


def test_no_node_and_no_cdktf(tmp_path: Path) -> None:
    shutil.copy(ROOT / "package.json", tmp_path)
    found = {each.subject: each for each in tools.cdktf(tmp_path)}

    assert {subject: (each.state, each.fix) for subject, each in found.items()} == {
        "node": ("problem", "make setup"),
        "cdktf": ("problem", "make setup"),
    }


# --- the account


def test_no_credentials(person: Person) -> None:
    ended = person.ops("doctor", "--json", AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None)

    is_the_only_problem(ended, "credentials", "Unable to locate credentials", "set credentials as for the AWS CLI")
    assert finding(ended, "the rest")[0] == "unknown"
    assert finding(ended, "clock")[0] == "unknown"


def test_credentials_that_aws_does_not_accept(person: Person) -> None:
    ended = behind(person, {"GetCallerIdentity": lambda _: Answer.xml_error("InvalidClientTokenId")})

    is_the_only_problem(ended, "credentials", "AWS does not accept the credentials", "log in")


def test_credentials_that_have_expired(person: Person) -> None:
    ended = behind(person, {"GetCallerIdentity": lambda _: Answer.xml_error("ExpiredToken")})

    is_the_only_problem(ended, "credentials", "the credentials have expired", "log in")


def test_nobody_answers(person: Person) -> None:
    ended = person.ops("doctor", "--json", AWS_ENDPOINT_URL="http://127.0.0.1:9")

    is_the_only_problem(ended, "credentials", "Could not connect to the endpoint", "check the network")


@pytest.mark.parametrize(("minutes", "way"), [(-10, "ahead of"), (10, "behind")])
def test_a_clock_that_is_off(person: Person, minutes: int, way: str) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=minutes), usegmt=True)
    with front(person.endpoint, {}, date) as url:
        ended = person.ops("doctor", "--json", AWS_ENDPOINT_URL=url)

    is_the_only_problem(ended, "clock", f"{way} AWS's", "timedatectl set-ntp true")


def test_a_clock_is_judged_by_a_refusal_too(person: Person) -> None:
    """With a clock far off AWS refuses every signature, so the answer is an error: its date counts."""
    before = datetime.now(UTC)
    date = format_datetime(before + timedelta(hours=2), usegmt=True)
    rules: dict[str, Rule] = {"GetCallerIdentity": lambda _: Answer.xml_error("SignatureDoesNotMatch")}
    with front(person.endpoint, rules, date) as url:
        ended = person.ops("doctor", "--json", AWS_ENDPOINT_URL=url)

    assert problems(ended) == ["credentials", "clock"]
    told = re.match(r"(\d+):(\d\d):(\d\d) behind AWS's", finding(ended, "clock")[1])
    assert told is not None
    skew = timedelta(hours=int(told[1]), minutes=int(told[2]), seconds=int(told[3]))
    # The date is of before the command, however long that took, and without its fraction of a second.
    assert timedelta(hours=2) - (datetime.now(UTC) - before) - timedelta(seconds=2) <= skew <= timedelta(hours=2)


@pytest.mark.parametrize("status", [503, 511])
def test_a_proxy_that_answers_for_aws_tells_no_time(person: Person, status: int) -> None:
    page = Answer(status, b"<html><body>log in to the hotel</body></html>", "text/html")

    ended = behind(person, {"GetCallerIdentity": lambda _: page})

    is_the_only_problem(ended, "credentials", f"({status})", "a proxy or a captive portal may be answering instead")
    assert finding(ended, "clock")[0] == "unknown"


def test_a_clock_within_five_minutes_is_well(person: Person) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=4), usegmt=True)
    with front(person.endpoint, {}, date) as url:
        ended = person.ops("doctor", "--json", AWS_ENDPOINT_URL=url)

    assert finding(ended, "clock")[0] == "ok"
    assert ended.status == 0


# --- the state


def test_no_state_bucket(person: Person) -> None:
    person.write(SETTINGS.replace(BUCKET, "not-made-yet"))

    ended = person.ops("doctor", "--json")

    is_the_only_problem(ended, "state bucket", "not-made-yet does not exist", "ops bootstrap")


def test_a_state_bucket_that_is_not_right(person: Person) -> None:
    s3 = person.aws("s3")
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"})
    s3.delete_public_access_block(Bucket=BUCKET)

    ended = person.ops("doctor", "--json")

    is_the_only_problem(ended, "state bucket", "needs configuration: versioning, public access", "ops bootstrap")


def test_a_state_bucket_of_somebody_else(person: Person) -> None:
    ended = behind(person, {f"HEAD /{BUCKET}": lambda _: Answer.head(403)})

    is_the_only_problem(ended, "state bucket", "it belongs to another account", "set state.bucket to another name")


def test_a_state_bucket_in_another_region(person: Person) -> None:
    name = "elsewhere-state"
    location = {"LocationConstraint": "eu-west-1"}
    person.aws("s3", "eu-west-1").create_bucket(Bucket=name, CreateBucketConfiguration=location)
    person.write(SETTINGS.replace(BUCKET, name))

    ended = person.ops("doctor", "--json")

    is_the_only_problem(ended, "state bucket", f"{name} is in eu-west-1", 'set state.region = "eu-west-1"')


def test_a_state_bucket_whose_setup_may_not_be_read_is_unknown(person: Person) -> None:
    ended = behind(person, {f"GET /{BUCKET}?versioning": lambda _: Answer.xml_error("AccessDenied")})

    state, detail, _ = finding(ended, "state bucket")
    assert state == "unknown"
    assert "versioning (these credentials may not call GetBucketVersioning)" in detail
    assert ended.status == 0


def test_a_lock_that_is_held(person: Person) -> None:
    lock = {"ID": "1", "Operation": "OperationTypeApply", "Who": "a@laptop", "Created": "2026-11-25T20:00:00Z"}
    key = "ml-core/ml-core/us-east-1/train-model.tfstate.tflock"
    person.aws("s3").put_object(Bucket=BUCKET, Key=key, Body=json.dumps(lock).encode())

    ended = person.ops("doctor", "--json")

    is_the_only_problem(
        ended,
        "state locks",
        "train-model is locked by a@laptop since 2026-11-25T20:00:00Z (OperationTypeApply)",
        "ops unlock train-model",
    )


def test_the_other_stacks_need_mlcore(person: Person) -> None:
    ended = person.ops("doctor", "train-model", "--json")

    is_the_only_problem(ended, "mlcore", "it is not deployed", "cdktf deploy mlcore")

    machine = {"mode": "managed", "type": "aws_vpc", "name": "core", "instances": [{"attributes": {}}]}
    state = {"version": 4, "serial": 1, "outputs": {}, "resources": [machine]}
    person.aws("s3").put_object(
        Bucket=BUCKET, Key="ml-core/ml-core/us-east-1/mlcore.tfstate", Body=json.dumps(state).encode()
    )
    assert finding(person.ops("doctor", "train-model", "--json"), "mlcore")[0] == "ok"


def deployed_core(person: Person, outputs: Mapping[str, object], resources: int = 1) -> None:
    """mlcore's state, with nothing in it but so many networks."""
    one = {"mode": "managed", "type": "aws_vpc", "name": "core", "instances": [{"attributes": {}}]}
    state = {"version": 4, "serial": 1, "outputs": outputs, "resources": [one] * resources}
    person.aws("s3").put_object(
        Bucket=BUCKET, Key="ml-core/ml-core/us-east-1/mlcore.tfstate", Body=json.dumps(state).encode()
    )


@pytest.mark.parametrize(
    ("resources", "detail", "fix"),
    [
        (
            0,
            "mlcore is destroyed, while train-model still depends on it and costs money",
            "cdktf destroy train-model, then deploy what you need again",
        ),
        (3, "mlcore has no outputs: destroying it was refused or interrupted", "cdktf deploy mlcore repairs it"),
    ],
)
def test_mlcore_that_went_from_under_a_worker(person: Person, resources: int, detail: str, fix: str) -> None:
    deployed_volume(person, "train-model", "msls", final_snapshot=True)
    deployed_core(person, outputs={}, resources=resources)

    is_the_only_problem(person.ops("doctor", "--json"), "mlcore", detail, fix)
    assert person.ops("status", "--json").document["without_mlcore"] == ["train-model"]
    assert fix in person.ops("status").words


# A table by hand: the stack, its volume, the variable of its setting, and what the volume holds.
KEPT = [
    ("train-model", "msls", "ML_INFRA_TRAIN_MODEL__DATA_VOLUME__SNAPSHOT_ON_DESTROY", "/data"),
    ("stats-monitor", "grafana", "ML_INFRA_STATS_MONITOR__SNAPSHOT_ON_DESTROY", "Grafana's volume"),
]


def deployed_volume(person: Person, stack: str, name: str, final_snapshot: bool) -> None:
    """The stack's state, with nothing in it but the volume; and mlcore's."""
    deployed_core(person, outputs={"vpc_id": {"value": "vpc-1", "type": "string"}})
    volume = {
        "mode": "managed",
        "type": "aws_ebs_volume",
        "name": name,
        "instances": [{"attributes": {"final_snapshot": final_snapshot}}],
    }
    state = {"version": 4, "serial": 1, "outputs": {}, "resources": [volume]}
    person.aws("s3").put_object(
        Bucket=BUCKET, Key=f"ml-core/ml-core/us-east-1/{stack}.tfstate", Body=json.dumps(state).encode()
    )


@pytest.mark.parametrize(("stack", "name", "variable", "what"), KEPT)
def test_a_snapshot_that_is_asked_for_after_the_deploy(
    person: Person, stack: str, name: str, variable: str, what: str
) -> None:
    deployed_volume(person, stack, name, False)

    ended = person.ops("doctor", "--json", **{variable: "true"})

    is_the_only_problem(
        ended,
        f"{stack}: snapshot",
        f"a destroy now would delete {what} without a snapshot",
        f"cdktf deploy {stack}",
    )


@pytest.mark.parametrize(("stack", "name", "variable", "what"), KEPT)
def test_a_snapshot_that_is_no_longer_wanted_is_still_kept(
    person: Person, stack: str, name: str, variable: str, what: str
) -> None:
    deployed_volume(person, stack, name, True)

    state, detail, _ = finding(person.ops("doctor", "--json", **{variable: "false"}), f"{stack}: snapshot")
    assert state == "ok"
    assert f"a destroy now still keeps a snapshot of {what}" in detail


@pytest.mark.parametrize(("kept", "does"), [(True, "keeps a snapshot"), (False, "keeps no snapshot")])
def test_a_snapshot_as_the_setting_says(person: Person, kept: bool, does: str) -> None:
    stack, name, variable, what = KEPT[0]
    deployed_volume(person, stack, name, kept)

    state, detail, _ = finding(person.ops("doctor", "--json", **{variable: str(kept).lower()}), f"{stack}: snapshot")
    assert state == "ok"
    assert f"a destroy {does} of {what}" in detail


def test_no_snapshot_is_spoken_of_where_nothing_is_deployed(person: Person) -> None:
    ended = person.ops("doctor", "--json")

    assert not any(each["subject"].endswith("snapshot") for each in ended.document["findings"])


# --- volumes that a deploy would change or make


def put_state(person: Person, stack: str, kind: str, name: str, attributes: Mapping[str, Any]) -> None:
    """The stack's state, with nothing in it but this; and mlcore's."""
    deployed_core(person, outputs={"vpc_id": {"value": "vpc-1", "type": "string"}})
    resource = {"mode": "managed", "type": kind, "name": name, "instances": [{"attributes": dict(attributes)}]}
    state = {"version": 4, "serial": 1, "outputs": {}, "resources": [resource]}
    person.aws("s3").put_object(
        Bucket=BUCKET, Key=f"ml-core/ml-core/us-east-1/{stack}.tfstate", Body=json.dumps(state).encode()
    )


def real_volume(person: Person, size: int = 50) -> str:
    """A data volume with a state that says so."""
    made = person.aws("ec2").create_volume(
        AvailabilityZone="us-east-1a", Size=size, VolumeType="gp3", Iops=8000, Throughput=1000
    )
    id: str = made["VolumeId"]
    attributes = {"id": id, "size": size, "iops": 8000, "throughput": 1000, "final_snapshot": True}
    put_state(person, "train-model", "aws_ebs_volume", "msls", attributes)
    return id


NO_SNAPSHOT = {"ML_INFRA_TRAIN_MODEL__DATA_VOLUME__SNAPSHOT_ON_DESTROY": "false"}


def test_a_change_that_ec2_refuses_while_the_one_before_is_not_completed(person: Person) -> None:
    """The provider sends ModifyVolume for snapshot_on_destroy, too."""
    id = real_volume(person)
    person.aws("ec2").modify_volume(VolumeId=id, Iops=9000)

    assert problems(person.ops("doctor", "--json")) == []

    ended = person.ops("doctor", "--json", **NO_SNAPSHOT)
    is_the_only_problem(
        ended,
        "train-model: data volume",
        f"a deploy would change {id} (train_model.data_volume.snapshot_on_destroy = false), but EC2 refuses",
        f"describe-volumes-modifications --region us-east-1 --volume-ids {id}",
    )
    assert "has completed (optimizing, 0 %)" in finding(ended, "train-model: data volume")[1]


def test_a_change_that_ec2_takes_is_told(person: Person) -> None:
    id = real_volume(person)

    state, detail, _ = finding(person.ops("doctor", "--json", **NO_SNAPSHOT), "train-model: data volume")

    assert (state, detail.partition(". ")[0]) == (
        "ok",
        f"a deploy changes {id}: train_model.data_volume.snapshot_on_destroy = false",
    )


def test_a_volume_that_would_become_smaller(person: Person) -> None:
    id = real_volume(person, 100)

    ended = person.ops("doctor", "--json")

    is_the_only_problem(
        ended,
        "train-model: data volume",
        f"train_model.data_volume.size_gb is 50, but {id} has 100 GiB",
        "set train_model.data_volume.size_gb = 100",
    )


def test_a_root_volume_that_would_become_smaller(person: Person) -> None:
    root = {"volume_id": "vol-0123456789abcdef0", "volume_size": 200, "iops": 3000, "throughput": 125}
    put_state(person, "train-model", "aws_instance", "worker", {"id": "i-1", "root_block_device": [root]})

    is_the_only_problem(
        person.ops("doctor", "--json"),
        "train-model: root volume",
        "train_model.root_volume.size_gb is 130, but vol-0123456789abcdef0 has 200 GiB",
        "set train_model.root_volume.size_gb = 200",
    )


def kept_snapshot(person: Person, size: int) -> str:
    """A snapshot of a destroyed data volume of this deployment."""
    ec2 = person.aws("ec2")
    tags = [{"Key": "Name", "Value": "ml-core MSLS Volume"}, {"Key": "deployment", "Value": "ml-core"}]
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=size, VolumeType="gp3")["VolumeId"]
    specification = [{"ResourceType": "snapshot", "Tags": tags}]
    id: str = ec2.create_snapshot(VolumeId=volume, TagSpecifications=specification)["SnapshotId"]
    return id


def test_a_snapshot_that_is_larger_than_the_new_volume(person: Person) -> None:
    newest = kept_snapshot(person, 80)

    is_the_only_problem(
        person.ops("doctor", "--json"),
        "train-model: data volume",
        f"a new volume starts from {newest} of ",
        "set train_model.data_volume.size_gb = 80",
    )
    larger = person.ops("doctor", "--json", ML_INFRA_TRAIN_MODEL__DATA_VOLUME__SIZE_GB="80")
    assert finding(larger, "train-model: data volume")[0] == "ok"
    blank = person.ops("doctor", "--json", ML_INFRA_TRAIN_MODEL__DATA_VOLUME__RESTORE="none")
    assert problems(blank) == []


def test_a_snapshot_that_does_not_exist(person: Person) -> None:
    ended = person.ops("doctor", "--json", ML_INFRA_TRAIN_MODEL__DATA_VOLUME__RESTORE="snap-0123456789abcdef0")

    is_the_only_problem(ended, "train-model: data volume", "no snapshot snap-0123456789abcdef0", "restore = ")


# --- backups


def recovery_points(*points: Mapping[str, Any]) -> dict[str, Rule]:
    path = "GET /backup-vaults/aws%2Fefs%2Fautomatic-backup-vault/recovery-points/?resourceType"
    return {path: lambda _: Answer.of({"RecoveryPoints": list(points)})}


def recovery_point(file_system_arn: str, **more: object) -> dict[str, object]:
    """As AWS Backup lists one: of 40 GB, until the start of 2027."""
    return {
        "RecoveryPointArn": "arn:aws:backup:us-east-1:123456789012:recovery-point:1",
        "ResourceArn": file_system_arn,
        "ResourceName": "ml-core-gaudi_ml_core_efs",
        "BackupSizeInBytes": 40_000_000_000,
        "CalculatedLifecycle": {"DeleteAt": 1798761600},
        **more,
    }


GONE = "arn:aws:elasticfilesystem:us-east-1:123456789012:file-system/fs-0123456789abcdef0"


def test_backups_of_a_file_system_that_is_gone_are_named_with_their_cost(person: Person) -> None:
    ours, theirs = recovery_point(GONE), recovery_point(GONE, ResourceName="their files")

    state, detail, _ = finding(behind(person, recovery_points(ours, ours, theirs)), "backups")

    assert state == "ok"
    assert detail.startswith(
        "2 of the deleted fs-0123456789abcdef0, kept until 2027-01-01 at the latest: "
        "at most 80.0 GB, 4.00 dollars a month. To delete one: aws backup delete-recovery-point"
    )


def test_backups_of_a_file_system_that_is_there_are_not_spoken_of(person: Person) -> None:
    made = person.aws("efs").create_file_system(CreationToken="a")

    ended = behind(person, recovery_points(recovery_point(made["FileSystemArn"])))

    assert [each for each in ended.document["findings"] if each["subject"] == "backups"] == []


def test_no_backup_was_ever_made(person: Person) -> None:
    ended = person.ops("doctor", "--json")

    assert [each for each in ended.document["findings"] if each["subject"] == "backups"] == []


# --- the key pair


def test_no_key_pair(person: Person) -> None:
    key_pairs(person).delete_key_pair(KeyName=KEY_PAIR)

    ended = person.ops("doctor", "--json")

    is_the_only_problem(ended, "key pair", "EC2 has no key pair a-key in us-east-1", "ops init --key-pair NAME")
    assert finding(ended, "private key")[0] == "unknown"


def test_no_private_key(person: Person) -> None:
    (person.home / ".ssh" / f"{KEY_PAIR}.pem").unlink()

    ended = person.ops("doctor", "--json")

    is_the_only_problem(
        ended, "private key", "neither in the ssh agent nor in ~/.ssh/a-key, ~/.ssh/a-key.pem", "ssh-add FILE"
    )


def test_a_private_key_that_others_may_read(person: Person) -> None:
    (person.home / ".ssh" / f"{KEY_PAIR}.pem").chmod(0o644)

    ended = person.ops("doctor", "--json")

    is_the_only_problem(ended, "private key", "(mode 644)", "chmod 600 ~/.ssh/a-key.pem")


def test_the_private_key_of_another_pair(person: Person) -> None:
    other = person.home / "other"
    new_key(other)
    other.replace(person.home / ".ssh" / f"{KEY_PAIR}.pem")

    ended = person.ops("doctor", "--json")

    is_the_only_problem(ended, "private key", "does not belong to the key pair a-key", "--key")


def test_a_right_key_beside_a_wrong_one_is_found(person: Person) -> None:
    new_key(person.home / "other")
    (person.home / "other").rename(person.home / ".ssh" / KEY_PAIR)

    assert finding(person.ops("doctor", "--json"), "private key") == ("ok", "~/.ssh/a-key.pem", None)


def test_a_key_file_can_be_named(person: Person) -> None:
    elsewhere = person.home / "my keys"
    elsewhere.mkdir()
    (person.home / ".ssh" / f"{KEY_PAIR}.pem").rename(elsewhere / "k")

    named = person.ops("doctor", "--json", "--key", str(elsewhere / "k"))
    assert finding(named, "private key") == ("ok", "~/my keys/k", None)

    missing = person.ops("doctor", "--json", "--key", str(elsewhere / "no"))
    is_the_only_problem(missing, "private key", "my keys/no does not exist", "pass the file")


def test_the_key_that_make_local_made_is_found(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_pair, "BUILD", person.home)
    person.write(SETTINGS.replace(KEY_PAIR, "ml-core-local"))
    import_key(person, "ml-core-local", person.home / ".ssh" / f"{KEY_PAIR}.pem")
    (person.home / "local").mkdir()
    (person.home / ".ssh" / f"{KEY_PAIR}.pem").rename(person.home / "local" / "ml-core-local.pem")

    assert finding(person.ops("doctor", "--json"), "private key") == ("ok", "~/local/ml-core-local.pem", None)


def test_a_key_with_a_passphrase_is_unknown_until_it_can_be_compared(person: Person) -> None:
    file = person.home / ".ssh" / f"{KEY_PAIR}.pem"
    file.unlink()
    new_key(file, "a passphrase")
    key_pairs(person).delete_key_pair(KeyName=KEY_PAIR)
    import_key(person, KEY_PAIR, file)

    ended = person.ops("doctor", "--json")
    state, detail, fix = finding(ended, "private key")
    assert (state, fix) == ("unknown", "ssh-add ~/.ssh/a-key.pem")
    assert "passphrase" in detail
    assert ended.status == 0

    file.with_name("public").rename(file.with_name(f"{file.name}.pub"))
    assert finding(person.ops("doctor", "--json"), "private key")[0] == "ok"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[str]:
    """A real ssh agent; its socket."""
    place = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(place)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()  # it has said where it listens
    yield str(place)
    process.terminate()
    process.wait(timeout=60)
    process.stdout.close()


def test_a_key_in_the_agent(person: Person, agent: str) -> None:
    into_the_agent(person, agent)

    ended = person.ops("doctor", "--json", SSH_AUTH_SOCK=agent)

    assert finding(ended, "private key") == ("ok", "in the ssh agent", None)


def test_another_key_in_the_agent_does_not_count(person: Person, agent: str) -> None:
    file = person.home / ".ssh" / f"{KEY_PAIR}.pem"
    file.unlink()
    new_key(person.home / "other")
    environment = {**os.environ, "SSH_AUTH_SOCK": agent}
    subprocess.run(["ssh-add", "-q", str(person.home / "other")], env=environment, check=True, timeout=60)

    assert problems(person.ops("doctor", "--json", SSH_AUTH_SOCK=agent)) == ["private key"]


def test_a_key_in_the_agent_that_the_ssh_configuration_names(person: Person, agent: str) -> None:
    """As 1Password and others ask for it. Not in SSH_AUTH_SOCK's agent, so ssh-add -L does not list it."""
    into_the_agent(person, agent)
    configure_ssh(person, f"Host ml-core-*\n    IdentityAgent {agent}")

    ended = person.ops("doctor", "--json", SSH_AUTH_SOCK=None)

    assert finding(ended, "private key") == ("ok", f"in the ssh agent {agent}", None)


def test_an_agent_in_a_variable(person: Person, agent: str) -> None:
    into_the_agent(person, agent)
    configure_ssh(person, "IdentityAgent $MY_AGENT")

    ended = person.ops("doctor", "--json", SSH_AUTH_SOCK=None, MY_AGENT=agent)

    assert finding(ended, "private key")[0] == "ok"


def test_an_agent_that_ssh_is_told_not_to_ask_does_not_count(person: Person, agent: str) -> None:
    into_the_agent(person, agent)
    configure_ssh(person, "Host ml-core-jump\n    IdentityAgent none")

    is_the_only_problem(
        person.ops("doctor", "--json", SSH_AUTH_SOCK=agent),
        "private key",
        "neither in the ssh agent nor in",
        "replaces every machine at the next deploy",
    )


def test_a_key_is_not_called_lost_while_its_agent_does_not_answer(person: Person) -> None:
    (person.home / ".ssh" / f"{KEY_PAIR}.pem").unlink()
    configure_ssh(person, f"IdentityAgent {person.home}/no-agent")

    state, detail, fix = finding(person.ops("doctor", "--json"), "private key")

    assert state == "unknown"
    assert f"the ssh agent {person.home}/no-agent (IdentityAgent in your ssh configuration) does not answer" in detail
    assert fix == "start or unlock that agent; ssh-add -L lists what it holds"


@pytest.mark.parametrize("configuration", [None, "Host ml-core-jump\n    IdentityFile ~/keys/mine"])
def test_a_key_where_ssh_finds_it_by_itself(person: Person, configuration: str | None) -> None:
    """Somebody's own key, imported as a key pair: under one of ssh's names, or where the configuration says."""
    place = person.home / ("keys/mine" if configuration else ".ssh/id_ed25519")
    place.parent.mkdir(exist_ok=True)
    (person.home / ".ssh" / f"{KEY_PAIR}.pem").rename(place)
    if configuration:
        configure_ssh(person, configuration)

    assert finding(person.ops("doctor", "--json"), "private key") == ("ok", f"~/{place.relative_to(person.home)}", None)


def into_the_agent(person: Person, agent: str) -> None:
    """The key pair's key, which is then in no file."""
    file = person.home / ".ssh" / f"{KEY_PAIR}.pem"
    environment = {**os.environ, "SSH_AUTH_SOCK": agent}
    subprocess.run(["ssh-add", "-q", str(file)], env=environment, check=True, timeout=60)
    file.unlink()


def configure_ssh(person: Person, text: str) -> None:
    (person.home / ".ssh" / "config").write_text(f"{text}\n", encoding="utf-8")


# --- machines


def test_a_type_that_the_zone_does_not_have(person: Person) -> None:
    ended = person.ops("doctor", "--json", ML_INFRA_TRAIN_MODEL__INSTANCE_TYPE="trn1.2xlarge")

    is_the_only_problem(
        ended,
        "worker: type",
        "trn1.2xlarge is not offered in us-east-1a, only in us-east-1c, us-east-1f",
        "choose another train_model.instance_type",
    )


def test_a_withdrawn_type_says_so(person: Person) -> None:
    ended = person.ops("doctor", "--json", ML_INFRA_TRAIN_MODEL__INSTANCE_TYPE="dl1.24xlarge")

    is_the_only_problem(
        ended,
        "worker: type",
        "EC2 does not offer dl1.24xlarge in us-east-1",
        "choose another train_model.instance_type",
    )
    assert "withdrawn since 2026-07" in finding(ended, "worker: type")[1]


def test_a_zone_that_the_account_does_not_have(person: Person) -> None:
    person.write('[deployment]\nregion = "ap-northeast-1"\n' + SETTINGS + 'region = "us-east-1"\n')
    import_key(person, KEY_PAIR, person.home / ".ssh" / f"{KEY_PAIR}.pem", "ap-northeast-1")

    ended = person.ops("doctor", "mlcore", "--json", ML_INFRA_MLCORE__AZ_2="ap-northeast-1b")

    is_the_only_problem(
        ended,
        "zones",
        "ap-northeast-1b (mlcore.az_2) does not exist for this account",
        "set mlcore.az_2 to one of: ap-northeast-1a, ap-northeast-1c, ap-northeast-1d",
    )


def test_a_named_image_that_does_not_exist(person: Person) -> None:
    ended = person.ops("doctor", "--json", ML_INFRA_TRAIN_MODEL__AMI="ami-0123456789abcdef0")

    is_the_only_problem(
        ended, "worker: image", "no image ami-0123456789abcdef0", 'set train_model.ami = "" to look it up'
    )


def test_an_image_parameter_that_the_region_does_not_have(person: Person) -> None:
    ended = behind(person, {"GetParameter": lambda _: Answer.json_error("ParameterNotFound")}, "mlcore")

    is_the_only_problem(
        ended, "jump: image", "us-east-1 has no public parameter /aws/service/canonical", "mlcore.jump_ami"
    )


def image(architecture: str = "x86_64", state: str = "available") -> dict[str, Rule]:
    """ec2:DescribeImages with one image; the embedded AWS makes none of another architecture."""
    body = (
        '<DescribeImagesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><imagesSet><item>'
        f"<imageId>ami-0123456789abcdef0</imageId><name>theirs</name><imageState>{state}</imageState>"
        f"<architecture>{architecture}</architecture></item></imagesSet></DescribeImagesResponse>"
    )
    return {"DescribeImages": lambda _: Answer(200, body.encode(), "text/xml")}


def test_an_image_for_another_architecture(person: Person) -> None:
    ended = behind(person, image("arm64"), "mlcore", ML_INFRA_MLCORE__JUMP_AMI="ami-0123456789abcdef0")

    is_the_only_problem(
        ended, "jump: image", "ami-0123456789abcdef0 (theirs) is for arm64, but t3.nano is x86_64", "mlcore.jump_ami"
    )


def test_a_zone_without_one_zone_file_systems(person: Person) -> None:
    """Zone use1-az3, whatever its letter is for the account."""
    zones = person.aws("ec2").describe_availability_zones()["AvailabilityZones"]
    (without,) = [zone["ZoneName"] for zone in zones if zone["ZoneId"] == "use1-az3"]
    others = sorted(zone["ZoneName"] for zone in zones if zone["ZoneName"] != without)

    ended = person.ops("doctor", "mlcore", "--json", ML_INFRA_MLCORE__AZ=without)

    assert finding(ended, "EFS zone") == (
        "problem",
        f"EFS does not support One Zone file systems in {without} (use1-az3 for this account)",
        f"set mlcore.az to one of: {', '.join(others)}",
    )
    with_it = finding(person.ops("doctor", "mlcore", "--json", ML_INFRA_MLCORE__AZ=others[0]), "EFS zone")
    assert with_it[0] == "ok"


def test_a_zone_of_which_nothing_is_known(person: Person) -> None:
    ended = person.ops("doctor", "mlcore", "--json", ML_INFRA_DEPLOYMENT__REGION="eu-west-1")

    state, detail, fix = finding(ended, "EFS zone")
    assert (state, detail.partition(":")[0]) == (
        "unknown",
        "cannot tell whether eu-west-1a (euw1-az3 for this account) supports One Zone file systems",
    )
    assert fix is not None
    assert fix.endswith("https://docs.aws.amazon.com/efs/latest/ug/OneZoneAZs.html")


def test_an_image_that_is_not_available(person: Person) -> None:
    ended = behind(person, image(state="deregistered"), "mlcore")

    is_the_only_problem(ended, "jump: image", "ami-0123456789abcdef0 (theirs) is deregistered", "mlcore.jump_ami")


def test_an_image_that_does_not_say_its_size_is_unknown(person: Person) -> None:
    ended = behind(person, image())

    assert finding(ended, "worker: image")[0] == "unknown"
    assert finding(ended, "jump: image")[0] == "ok"  # its root volume is as large as the image's


def test_an_image_that_is_larger_than_the_root_volume(person: Person) -> None:
    """The deep learning image of the embedded AWS has 75 GiB."""
    ended = person.ops("doctor", "--json", ML_INFRA_TRAIN_MODEL__ROOT_VOLUME__SIZE_GB="50")

    is_the_only_problem(
        ended, "worker: image", "needs 75 GiB, but train_model.root_volume.size_gb is 50", "size_gb = 75 or more"
    )


# --- quotas


@pytest.mark.parametrize(
    ("worker", "code", "name", "vcpu"),
    [
        ("g6.12xlarge", "L-DB2E81BA", "G and VT", 48),
        ("p5.48xlarge", "L-417A185B", "P", 192),
        ("trn1.32xlarge", "L-2C3B7624", "Trn", 128),
        ("dl1.24xlarge", "L-6E869C2A", "DL", 96),
    ],
)
def test_a_vcpu_quota_that_is_too_small(person: Person, worker: str, code: str, name: str, vcpu: int) -> None:
    ended = behind(person, quotas(PLENTY | {code: vcpu - 1.0}), ML_INFRA_TRAIN_MODEL__INSTANCE_TYPE=worker)

    state, detail, fix = finding(ended, f"vCPU: {name}")
    assert state == "problem"
    assert detail == f"{vcpu} needed (worker {vcpu}), 0 used by others, quota {vcpu - 1}"
    assert fix is not None
    assert f"--region us-east-1 --service-code ec2 --quota-code {code} --desired-value {vcpu}" in fix
    assert ended.status == 1


def test_the_default_quota_counts_where_the_account_has_none_of_its_own(person: Person) -> None:
    defaults = {"L-DB2E81BA": 0.0}
    ended = behind(person, quotas({key: PLENTY[key] for key in PLENTY if key != "L-DB2E81BA"}, defaults))

    is_the_only_problem(ended, "vCPU: G and VT", "quota 0 (AWS default)", "request-service-quota-increase")


# What says nothing of the account's own value, which may be more or less than AWS's default.
NOT_TOLD: list[tuple[Answer, str]] = [
    (Answer.json_error("AccessDeniedException"), "these credentials may not call "),
    (Answer.json_error("TooManyRequestsException"), "TooManyRequestsException"),
    (Answer.json_error("ServiceException"), "ServiceException"),
    (Answer.of({"Quota": {"QuotaCode": "L-DB2E81BA"}}), "returned no value"),
]


@pytest.mark.parametrize(("said", "reason"), NOT_TOLD)
def test_the_default_does_not_count_where_the_accounts_own_is_not_told(
    person: Person, said: Answer, reason: str
) -> None:
    plenty = dict.fromkeys(PLENTY, 1000.0)
    ended = behind(person, {**quotas({}, plenty), "GetServiceQuota": lambda _: said}, "train-model")

    state, detail, _ = finding(ended, "vCPU: G and VT")
    assert state == "unknown"
    assert "48 needed (worker 48); the quota is unknown: " in detail
    assert reason in detail


def test_the_default_does_not_count_where_nobody_answers_in_time() -> None:
    class Slow:
        def get_service_quota(self, **_: str) -> Any:
            raise ReadTimeoutError(endpoint_url="https://servicequotas.us-east-1.amazonaws.com/")

        def get_aws_default_service_quota(self, **_: str) -> Any:
            return {"Quota": {"Value": 1000.0}}

    patient: Any = SimpleNamespace(session=SimpleNamespace(client=lambda _: Slow()))
    found = limit(patient, "ec2", "L-DB2E81BA")
    assert isinstance(found, str)
    assert "Read timeout" in found


def launch(
    person: Person, instance_type: str, count: int = 1, tags: Mapping[str, str] | None = None, **more: Any
) -> None:
    ec2 = person.aws("ec2")
    ubuntu = ec2.describe_images(Owners=["099720109477"])["Images"][0]["ImageId"]
    named = [{"Key": key, "Value": value} for key, value in (tags or {}).items()]
    specification = {"TagSpecifications": [{"ResourceType": "instance", "Tags": named}]} if named else {}
    ec2.run_instances(
        ImageId=ubuntu, InstanceType=instance_type, MinCount=count, MaxCount=count, **specification, **more
    )


def test_what_runs_already_counts_against_the_quota(person: Person) -> None:
    launch(person, "g5.xlarge", 2)  # 4 vCPU each
    launch(person, "g4dn.2xlarge")  # 8, not in the table: EC2 is asked
    launch(person, "m5.large")  # of another family

    ended = behind(person, quotas(PLENTY | {"L-DB2E81BA": 63.0}))

    is_the_only_problem(
        ended, "vCPU: G and VT", "48 needed (worker 48), 16 used by others, quota 63", "--desired-value 64"
    )
    assert finding(ended, "vCPU: Standard")[1] == "4 needed (jump 2, metrics 2), 2 used by others, quota 64"


def test_what_is_deployed_already_does_not_count_against_itself(person: Person) -> None:
    launch(person, "g6.12xlarge", tags={"deployment": "ml-core", "stack": "train-model"})

    ended = behind(person, quotas(PLENTY | {"L-DB2E81BA": 48.0}))

    assert finding(ended, "vCPU: G and VT") == ("ok", "48 needed (worker 48), 0 used by others, quota 48", None)


def test_another_deployment_counts(person: Person) -> None:
    launch(person, "g6.12xlarge", tags={"deployment": "another", "stack": "train-model"})

    ended = behind(person, quotas(PLENTY | {"L-DB2E81BA": 48.0}))

    is_the_only_problem(ended, "vCPU: G and VT", "48 used by others, quota 48", "--desired-value 96")


def test_spot_and_stopped_machines_do_not_count(person: Person) -> None:
    launch(person, "g5.xlarge", InstanceMarketOptions={"MarketType": "spot"})
    launch(person, "g6.xlarge")
    ec2 = person.aws("ec2")
    instances = [
        instance
        for reservation in ec2.describe_instances()["Reservations"]
        for instance in reservation["Instances"]
        if instance["InstanceType"] == "g6.xlarge"
    ]
    ec2.stop_instances(InstanceIds=[instance["InstanceId"] for instance in instances])

    ended = behind(person, quotas(PLENTY))

    assert finding(ended, "vCPU: G and VT")[1] == "48 needed (worker 48), 0 used by others, quota 64"


def test_a_quota_that_may_not_be_read_is_unknown(person: Person) -> None:
    denied: dict[str, Rule] = {
        call: lambda _: Answer.json_error("AccessDeniedException")
        for call in ("GetServiceQuota", "GetAWSDefaultServiceQuota")
    }

    ended = behind(person, denied)

    assert ended.status == 0
    for subject in ("vCPU: Standard", "vCPU: G and VT", "Elastic IPs", "VPCs"):
        state, detail, _ = finding(ended, subject)
        assert state == "unknown"
        assert "these credentials may not call GetServiceQuota" in detail


def test_spot_is_told_and_is_never_a_problem(person: Person) -> None:
    """By hand: a g5.xlarge has 4 vCPU, a g4dn.2xlarge 8, and the worker 48."""
    launch(person, "g5.xlarge", 2, InstanceMarketOptions={"MarketType": "spot"})
    launch(person, "g4dn.2xlarge", InstanceMarketOptions={"MarketType": "spot"})
    launch(person, "g6.xlarge")  # not spot
    launch(person, "m5.large", InstanceMarketOptions={"MarketType": "spot"})  # of another family

    no_room = behind(person, quotas(PLENTY | {"L-3819A6DF": 63.0}))
    assert finding(no_room, "spot: G and VT") == (
        "ok",
        "no stack uses spot; as spot, 48 vCPU would be needed (worker 48), 16 used, quota 63: does not fit",
        None,
    )
    assert no_room.status == 0
    room = behind(person, quotas(PLENTY))
    assert finding(room, "spot: G and VT")[1].endswith("16 used, quota 64: fits")
    assert finding(room, "spot: Standard")[1] == (
        "no stack uses spot; as spot, 4 vCPU would be needed (jump 2, metrics 2), 2 used, quota 64: fits"
    )


def test_a_spot_request_that_waits_counts(person: Person) -> None:
    """ec2:DescribeSpotInstanceRequests as the API reference gives it; no request waits in the embedded AWS."""
    body = (
        '<DescribeSpotInstanceRequestsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><spotInstanceRequestSet>'
        "<item><state>open</state><launchSpecification><instanceType>p5.48xlarge</instanceType></launchSpecification>"
        "</item></spotInstanceRequestSet></DescribeSpotInstanceRequestsResponse>"
    )
    seen: list[Mapping[str, list[str]]] = []

    def rule(request: Request) -> Answer:
        seen.append(request.form)
        return Answer(200, body.encode(), "text/xml")

    waiting: dict[str, Rule] = {"DescribeSpotInstanceRequests": rule}
    ended = behind(
        person,
        quotas(PLENTY | {"L-417A185B": 192.0, "L-C4BD4855": 192.0}) | waiting,
        ML_INFRA_TRAIN_MODEL__INSTANCE_TYPE="p5.4xlarge",
    )

    assert finding(ended, "spot: P5")[1].endswith("(worker 16), 192 used, quota 192: does not fit")
    assert [(form["Filter.1.Name"], form["Filter.1.Value.1"]) for form in seen] == [(["state"], ["open"])]


@pytest.mark.parametrize(
    ("worker", "code", "name"),
    [
        ("p4d.24xlarge", "L-7212CCBC", "P"),
        ("p5.48xlarge", "L-C4BD4855", "P5"),
        ("trn1.32xlarge", "L-6B0D517C", "Trn"),
        ("dl1.24xlarge", "L-85EED4F7", "DL"),
    ],
)
def test_the_spot_quota_is_the_right_one(person: Person, worker: str, code: str, name: str) -> None:
    ended = behind(person, quotas(PLENTY | {code: 191.0}), ML_INFRA_TRAIN_MODEL__INSTANCE_TYPE=worker)

    state, detail, _ = finding(ended, f"spot: {name}")
    assert state == "ok"
    assert "quota 191" in detail


def test_a_spot_quota_that_is_not_told_is_unknown(person: Person) -> None:
    def rule(request: Request) -> Answer:
        if request.json["QuotaCode"] == "L-3819A6DF":
            return Answer.json_error("AccessDeniedException")
        return Answer.of({"Quota": {"Value": 64.0}})

    ended = behind(person, {"GetServiceQuota": rule})

    state, detail, _ = finding(ended, "spot: G and VT")
    assert state == "unknown"
    assert detail.endswith("the quota is unknown: these credentials may not call GetServiceQuota")
    assert finding(ended, "vCPU: G and VT")[0] == "ok"


@pytest.mark.parametrize(
    ("instance_type", "on_demand", "spot"),
    [
        ("m5.large", "L-1216C47A", "L-34B43A08"),
        ("im4gn.large", "L-1216C47A", "L-34B43A08"),
        ("d3en.xlarge", "L-1216C47A", "L-34B43A08"),
        ("t3.nano", "L-1216C47A", "L-34B43A08"),
        ("p3.2xlarge", "L-417A185B", "L-7212CCBC"),
        ("p4d.24xlarge", "L-417A185B", "L-7212CCBC"),
        ("p5.48xlarge", "L-417A185B", "L-C4BD4855"),
        ("p5en.48xlarge", "L-417A185B", "L-C4BD4855"),
        ("p6-b200.48xlarge", "L-417A185B", None),
        ("g5g.xlarge", "L-DB2E81BA", "L-3819A6DF"),
        ("vt1.3xlarge", "L-DB2E81BA", "L-3819A6DF"),
        ("dl2q.24xlarge", "L-6E869C2A", "L-85EED4F7"),
        ("trn2.48xlarge", "L-2C3B7624", "L-6B0D517C"),
        ("inf2.xlarge", None, None),
        ("mac2.metal", None, None),
        ("u-6tb1.metal", None, None),
    ],
)
def test_the_quotas_of_a_family(instance_type: str, on_demand: str | None, spot: str | None) -> None:
    assert (on_demand_quota(instance_type), spot_quota(instance_type)) == (on_demand, spot)


def test_the_quotas_of_the_types_that_can_be_chosen_are_those_of_their_families() -> None:
    for name, row in INSTANCE_TYPES.items():
        assert (on_demand_quota(name), spot_quota(name)) == (row.quota_on_demand, row.quota_spot), name


def test_no_elastic_ip_left(person: Person) -> None:
    ec2 = person.aws("ec2")
    for _ in range(5):
        ec2.allocate_address(Domain="vpc")

    ended = behind(person, quotas(PLENTY))

    is_the_only_problem(
        ended, "Elastic IPs", "1 needed (the NAT gateway), 5 used by others, quota 5", "--quota-code L-0263D0A3"
    )


def test_the_elastic_ip_of_mlcore_is_its_own(person: Person) -> None:
    ec2 = person.aws("ec2")
    ours = [ec2.allocate_address(Domain="vpc")["AllocationId"] for _ in range(5)][:1]
    ec2.create_tags(
        Resources=ours, Tags=[{"Key": "deployment", "Value": "ml-core"}, {"Key": "stack", "Value": "mlcore"}]
    )

    ended = behind(person, quotas(PLENTY))

    assert finding(ended, "Elastic IPs") == ("ok", "1 needed (the NAT gateway), 4 used by others, quota 5", None)


def test_no_vpc_left(person: Person) -> None:
    """The embedded AWS has the quota of VPCs itself: 5, and a default VPC."""
    ec2 = person.aws("ec2")
    for number in range(4):
        ec2.create_vpc(CidrBlock=f"10.{number}.0.0/16")

    ended = person.ops("doctor", "--json")

    is_the_only_problem(
        ended, "VPCs", "1 needed (the network), 5 used by others, quota 5", "vpc --quota-code L-F678F1CE"
    )


def test_the_vpc_of_mlcore_is_its_own(person: Person) -> None:
    ec2 = person.aws("ec2")
    made = [ec2.create_vpc(CidrBlock=f"10.{number}.0.0/16")["Vpc"]["VpcId"] for number in range(4)]
    ours = [{"Key": "deployment", "Value": "ml-core"}, {"Key": "stack", "Value": "mlcore"}]
    ec2.create_tags(Resources=made[:1], Tags=ours)

    assert finding(person.ops("doctor", "--json"), "VPCs")[0] == "ok"


def test_no_notebook_of_the_type_left(person: Person) -> None:
    ended = behind(person, quotas(PLENTY) | notebook_quota(0))

    is_the_only_problem(
        ended,
        "notebook",
        "1 needed (ml.t3.medium), 0 used by others, quota 0",
        "--service-code sagemaker --quota-code L-NB --desired-value 1",
    )


def test_another_notebook_counts_and_our_own_does_not(person: Person) -> None:
    sagemaker = person.aws("sagemaker")
    for name in ("ml-core-dev-gaudi-sagemaker-nb-instance", "theirs"):
        sagemaker.create_notebook_instance(
            NotebookInstanceName=name, InstanceType="ml.t3.medium", RoleArn="arn:aws:iam::123456789012:role/any"
        )

    ended = behind(person, quotas(PLENTY) | notebook_quota(2))

    assert finding(ended, "notebook") == ("ok", "1 needed (ml.t3.medium), 1 used by others, quota 2", None)


def test_a_notebook_quota_that_is_not_listed_is_unknown(person: Person) -> None:
    ended = behind(person, quotas(PLENTY) | notebook_quota(2, "something else"))

    state, detail, _ = finding(ended, "notebook")
    assert state == "unknown"
    assert 'no quota is named "ml.t3.medium for notebook instance usage"' in detail


def test_the_default_of_a_notebook_quota_does_not_count_where_the_accounts_own_is_not_told(person: Person) -> None:
    rules = notebook_quota(2)
    rules["ListAWSDefaultServiceQuotas"] = rules["ListServiceQuotas"]
    rules["ListServiceQuotas"] = lambda _: Answer.json_error("AccessDeniedException")

    ended = behind(person, quotas(PLENTY) | rules)

    state, detail, _ = finding(ended, "notebook")
    assert state == "unknown"
    assert detail.endswith("the quota is unknown: these credentials may not call ListServiceQuotas")


def test_the_default_of_a_notebook_quota_counts_where_the_account_has_none_of_its_own(person: Person) -> None:
    rules = notebook_quota(1)
    rules["ListAWSDefaultServiceQuotas"] = rules["ListServiceQuotas"]
    rules["ListServiceQuotas"] = lambda _: Answer.of({"Quotas": []})

    ended = behind(person, quotas(PLENTY) | rules)

    assert finding(ended, "notebook")[:2] == (
        "ok",
        "1 needed (ml.t3.medium), 0 used by others, quota 1 (AWS default)",
    )


# --- permissions


def test_actions_that_no_policy_allows(person: Person) -> None:
    denied = {"ec2:RunInstances": "implicitDeny", "iam:PassRole": "explicitDeny"}

    ended = behind(person, identity(IAM_USER) | simulation(denied), "mlcore")

    is_the_only_problem(ended, "permissions: mlcore", f"no policy of {IAM_USER} allows ec2:RunInstances", "allowed")
    assert (
        "iam:PassRole on arn:aws:iam::123456789012:role/ml-core-us-east-1-jump"
        in finding(ended, "permissions: mlcore")[1]
    )


def test_actions_that_the_organization_denies(person: Person) -> None:
    rules = identity(IAM_USER) | simulation({"ec2:RunInstances": "implicitDeny"}, organization=False)

    ended = behind(person, rules, "mlcore")

    is_the_only_problem(
        ended, "permissions: mlcore", "an organization's policy (SCP) denies ec2:RunInstances", "allowed"
    )


def test_actions_that_hang_on_conditions_are_unknown(person: Person) -> None:
    rules = identity(IAM_USER) | simulation(missing={"ec2:CreateVpc": "aws:MultiFactorAuthPresent"})

    ended = behind(person, rules, "mlcore")

    state, detail, _ = finding(ended, "permissions: mlcore")
    assert state == "unknown"
    assert "ec2:CreateVpc depend on conditions" in detail
    assert "aws:MultiFactorAuthPresent" in detail
    assert ended.status == 0


def test_a_simulation_that_is_denied_is_unknown(person: Person) -> None:
    rules = identity(IAM_USER) | {"SimulatePrincipalPolicy": lambda _: Answer.xml_error("AccessDenied")}

    ended = behind(person, rules)

    state, detail, fix = finding(ended, "permissions")
    assert state == "unknown"
    assert "SimulatePrincipalPolicy is denied" in detail
    assert fix is not None
    assert "iam:SimulatePrincipalPolicy" in fix
    assert ended.status == 0


def test_a_session_is_judged_by_its_role_with_the_roles_path(person: Person) -> None:
    person.aws("iam").create_role(
        RoleName="AWSReservedSSO_Deploy_1", Path="/aws-reserved/sso.amazonaws.com/", AssumeRolePolicyDocument="{}"
    )
    session = "arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_Deploy_1/me@example.com"
    seen: list[Mapping[str, list[str]]] = []

    ended = behind(person, identity(session) | simulation(seen=seen), "train-model")

    assert finding(ended, "permissions: train-model")[0] == "ok"
    role = "arn:aws:iam::123456789012:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_Deploy_1"
    assert {form["PolicySourceArn"][0] for form in seen} == {role}
    passed = [form for form in seen if form["ActionNames.member.1"] == ["iam:PassRole"]]
    assert [form["ResourceArns.member.1"] for form in passed] == [
        ["arn:aws:iam::123456789012:role/ml-core-us-east-1-ml_worker"]
    ]
    assert ["ec2.amazonaws.com"] in passed[0].values()


def test_the_states_own_key_is_asked_for(person: Person) -> None:
    key = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-44cd-86ef-1234567890ab"
    seen: list[Mapping[str, list[str]]] = []

    behind(person, identity(IAM_USER) | simulation(seen=seen), "train-model", ML_INFRA_STATE__KMS_KEY_ARN=key)

    (asked,) = [form for form in seen if form["ResourceArns.member.1"] == [key]]
    assert [asked[f"ActionNames.member.{n}"] for n in (1, 2)] == [["kms:Decrypt"], ["kms:GenerateDataKey"]]


EFS_ROLE = (
    "arn:aws:iam::123456789012:role/aws-service-role/elasticfilesystem.amazonaws.com/"
    "AWSServiceRoleForAmazonElasticFileSystem"
)


def test_the_role_that_efs_makes_with_the_first_mount_target(person: Person) -> None:
    seen: list[Mapping[str, list[str]]] = []
    denied = {"iam:CreateServiceLinkedRole": "implicitDeny"}

    ended = behind(person, identity(IAM_USER) | simulation(denied, seen=seen), "mlcore")

    is_the_only_problem(
        ended, "permissions: mlcore", f"allows iam:CreateServiceLinkedRole on {EFS_ROLE}", "have these allowed"
    )
    (asked,) = [form for form in seen if form["ActionNames.member.1"] == ["iam:CreateServiceLinkedRole"]]
    names = {value[0]: key.split(".")[2] for key, value in asked.items() if key.endswith(".ContextKeyName")}
    of = asked[f"ContextEntries.member.{names['iam:AWSServiceName']}.ContextKeyValues.member.1"]
    assert of == ["elasticfilesystem.amazonaws.com"]


def test_the_role_of_efs_that_is_there_already_is_not_asked_for(person: Person) -> None:
    person.aws("iam").create_role(
        RoleName="AWSServiceRoleForAmazonElasticFileSystem",
        Path="/aws-service-role/elasticfilesystem.amazonaws.com/",
        AssumeRolePolicyDocument="{}",
    )
    denied = {"iam:CreateServiceLinkedRole": "implicitDeny"}

    ended = behind(person, identity(IAM_USER) | simulation(denied), "mlcore")

    assert finding(ended, "permissions: mlcore")[0] == "ok"


def test_a_role_of_efs_that_may_not_be_looked_for_is_unknown(person: Person) -> None:
    rules = identity(IAM_USER) | simulation({"iam:CreateServiceLinkedRole": "implicitDeny"})
    rules["GetRole"] = lambda _: Answer.xml_error("AccessDenied")

    ended = behind(person, rules, "mlcore")

    state, detail, _ = finding(ended, "permissions: mlcore")
    assert state == "unknown"
    assert "iam:CreateServiceLinkedRole" in detail
    assert "iam:GetRole is denied" in detail
    assert ended.status == 0


READS_MLCORE = ("s3:GetObject", f"arn:aws:s3:::{BUCKET}/ml-core/ml-core/us-east-1/mlcore.tfstate")


def test_each_stack_is_asked_for_what_its_resources_need(person: Person) -> None:
    """A table by hand: one telling action of each kind of resource, and where its name is known before the deploy."""
    arn = "arn:aws:{}:us-east-1:123456789012:{}"
    telling = {
        "mlcore": {
            ("ec2:CreateNatGateway", "*"),
            ("elasticfilesystem:PutBackupPolicy", "*"),
            ("iam:CreateServiceLinkedRole", EFS_ROLE),
            ("iam:CreateInstanceProfile", "arn:aws:iam::123456789012:instance-profile/ml-core-us-east-1-jump"),
            ("ssm:PutParameter", arn.format("ssm", "parameter/AmazonCloudWatch-ml-core-cw_agent__config")),
            ("s3:DeleteObject", f"arn:aws:s3:::{BUCKET}/ml-core/ml-core/us-east-1/mlcore.tfstate.tflock"),
            # Before it is destroyed, the states above it are looked at.
            ("s3:GetObject", f"arn:aws:s3:::{BUCKET}/ml-core/ml-core/us-east-1/train-model.tfstate"),
            ("s3:GetObject", f"arn:aws:s3:::{BUCKET}/ml-core/ml-core/us-east-1/stats-monitor.tfstate.tflock"),
        },
        "stats-monitor": {
            ("ec2:AttachVolume", "*"),
            ("ec2:CreateSnapshot", "*"),
            ("ec2:DescribeSnapshots", "*"),
            READS_MLCORE,
            ("secretsmanager:GetRandomPassword", "*"),
            ("ssm:PutParameter", arn.format("ssm", "parameter/ml-infra/ml-core/stats-monitor/grafana-admin-password")),
        },
        "train-model": {
            ("ec2:CreateSnapshot", "*"),
            READS_MLCORE,
            ("logs:PutRetentionPolicy", arn.format("logs", "log-group:/ml-infra/ml-core/train-model/training")),
            ("iam:AttachRolePolicy", "arn:aws:iam::123456789012:role/ml-core-us-east-1-ml_worker"),
            ("ssm:PutParameter", arn.format("ssm", "parameter/AmazonCloudWatch-ml-core-cw_agent__gpu")),
        },
        "train-model-dev": {
            ("sagemaker:CreateNotebookInstance", "*"),
            ("sagemaker:UpdateNotebookInstance", "*"),
            # SageMaker makes the notebook's interface in the caller's name.
            ("ec2:CreateNetworkInterface", "*"),
            ("ec2:DeleteNetworkInterface", "*"),
            READS_MLCORE,
            ("iam:PassRole", "arn:aws:iam::123456789012:role/ml-core-us-east-1-sagemaker_nb_role"),
        },
    }
    for stack, expected in telling.items():
        seen: list[Mapping[str, list[str]]] = []
        behind(person, identity(IAM_USER) | simulation(seen=seen), stack)
        asked = {
            (action[0], form["ResourceArns.member.1"][0])
            for form in seen
            for name, action in form.items()
            if name.startswith("ActionNames.member.")
        }
        assert expected <= asked
        assert (("ec2:CreateNatGateway", "*") in asked) == (stack == "mlcore")


STATE_KEY = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-44cd-86ef-1234567890ab"


@pytest.mark.parametrize("is_set", [True, False])
def test_the_key_of_states_and_locks(person: Person, is_set: bool) -> None:
    """The one that the settings name, or the state bucket's own. The key's policy may allow it, and is not seen."""
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": STATE_KEY}}
    if not is_set:
        configuration = {"Rules": [rule]}
        person.aws("s3").put_bucket_encryption(Bucket=BUCKET, ServerSideEncryptionConfiguration=configuration)
    more = {"ML_INFRA_STATE__KMS_KEY_ARN": STATE_KEY} if is_set else {}

    implicit = behind(person, identity(IAM_USER) | simulation({"kms:Decrypt": "implicitDeny"}), "mlcore", **more)
    explicit = behind(
        person, identity(IAM_USER) | simulation({"kms:GenerateDataKey": "explicitDeny"}), "mlcore", **more
    )

    state, detail, _ = finding(implicit, "permissions: mlcore")
    assert state == "unknown"
    assert f"kms:Decrypt on {STATE_KEY} depend on" in detail
    assert "the key's own policy" in detail
    is_the_only_problem(explicit, "permissions: mlcore", f"kms:GenerateDataKey on {STATE_KEY}", "have these allowed")


def test_the_root_user_may_do_everything(person: Person) -> None:
    ended = behind(person, identity("arn:aws:iam::123456789012:root"))

    assert finding(ended, "permissions")[0] == "ok"


def test_a_caller_without_policies_of_its_own_is_unknown(person: Person) -> None:
    ended = behind(person, identity("arn:aws:sts::123456789012:federated-user/someone"))

    state, detail, _ = finding(ended, "permissions")
    assert state == "unknown"
    assert "neither an IAM user nor a role" in detail


def test_an_answer_that_nobody_expects_stops_no_other_check(person: Person) -> None:
    ended = behind(person, image() | {"GetParameter": lambda _: Answer.of({"Parameter": {}})})

    state, detail, _ = finding(ended, "images")
    assert state == "unknown"
    assert "KeyError('Value')" in detail
    assert finding(ended, "VPCs")[0] == "ok"


def test_a_check_that_cannot_run_stops_no_other(person: Person) -> None:
    denied: dict[str, Rule] = {
        call: lambda _: Answer.ec2_error("UnauthorizedOperation")
        for call in ("DescribeKeyPairs", "DescribeInstanceTypeOfferings", "DescribeAvailabilityZones")
    }

    ended = behind(person, denied)

    assert ended.status == 0
    for subject, call in (
        ("key pair", "DescribeKeyPairs"),
        ("types", "DescribeInstanceTypeOfferings"),
        ("zones", "DescribeAvailabilityZones"),
    ):
        assert finding(ended, subject)[:2] == ("unknown", f"these credentials may not call {call}")
    assert finding(ended, "worker: image")[0] == "ok"
    assert finding(ended, "VPCs")[0] == "ok"
