"""The table of environment variables: what becomes of each, in every place where it would be read."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from constructs_lib import variables
from constructs_lib.variables import TABLE, RefusedVariableError, row_of
from embedded_aws.control import Endpoint
from ops import cli
from ops.core import environment, terraform
from ops.core.environment import ROOT
from ops.core.terraform import ProviderSource
from tools import local, set_up, shell

KEPT, CLEARED, REFUSED, OURS = "kept", "cleared", "refused", "ours"

# variable, value, what becomes of it in: make shell, the embedded AWS's shell, set-up, main.py without our shells
EXPECTED = (
    ("TF_WORKSPACE", "dev", REFUSED, REFUSED, CLEARED, REFUSED),
    ("TF_WORKSPACE", "default", CLEARED, CLEARED, CLEARED, KEPT),
    ("TF_WORKSPACE", "", CLEARED, CLEARED, CLEARED, KEPT),
    ("TF_DATA_DIR", "/tmp/tf", CLEARED, CLEARED, CLEARED, REFUSED),
    ("TF_CLI_ARGS", "-json", CLEARED, CLEARED, CLEARED, REFUSED),
    ("TF_CLI_ARGS_apply", "-auto-approve", CLEARED, CLEARED, CLEARED, REFUSED),
    ("TF_REATTACH_PROVIDERS", "{}", CLEARED, CLEARED, CLEARED, REFUSED),
    ("TF_INPUT", "0", CLEARED, CLEARED, CLEARED, KEPT),
    ("TF_CLI_CONFIG_FILE", "/nowhere/rc", OURS, OURS, KEPT, KEPT),
    ("CHECKPOINT_DISABLE", "0", OURS, OURS, KEPT, KEPT),
    ("TF_LOG", "trace", KEPT, KEPT, KEPT, KEPT),
    ("TF_LOG_PROVIDER", "debug", KEPT, KEPT, KEPT, KEPT),
    ("TF_TOKEN_registry_example_com", "t", KEPT, KEPT, KEPT, KEPT),
    ("TF_VAR_x", "1", KEPT, KEPT, KEPT, KEPT),
    ("AWS_SSE_CUSTOMER_KEY", "k", CLEARED, CLEARED, CLEARED, REFUSED),
    ("TF_AWS_IGNORE_TAGS_KEYS", "deployment", CLEARED, CLEARED, CLEARED, REFUSED),
    ("TF_AWS_DEFAULT_TAGS_project", "x", CLEARED, CLEARED, CLEARED, REFUSED),
    ("AWS_S3_ENDPOINT", "http://127.0.0.1:1", KEPT, CLEARED, KEPT, KEPT),
    ("TF_AWS_STS_ENDPOINT", "http://127.0.0.1:1", KEPT, CLEARED, KEPT, KEPT),
    ("TF_APPEND_USER_AGENT", "x", KEPT, KEPT, KEPT, KEPT),
    ("AWS_CA_BUNDLE", "/ca.pem", KEPT, KEPT, KEPT, KEPT),
    ("AWS_MAX_ATTEMPTS", "1", KEPT, KEPT, KEPT, KEPT),
    ("AWS_ENDPOINT_URL", "http://127.0.0.1:1", KEPT, OURS, KEPT, KEPT),
    ("AWS_PROFILE", "work", KEPT, OURS, KEPT, KEPT),
    ("AWS_ACCESS_KEY_ID", "AKIA", KEPT, OURS, KEPT, KEPT),
    ("AWS_CONFIG_FILE", "/config", KEPT, OURS, KEPT, KEPT),
    ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1", KEPT, CLEARED, KEPT, KEPT),
    ("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:1", KEPT, CLEARED, KEPT, KEPT),
    ("AWS_USE_FIPS_ENDPOINT", "true", KEPT, CLEARED, KEPT, KEPT),
    ("AWS_USE_DUALSTACK_ENDPOINT", "true", KEPT, CLEARED, KEPT, KEPT),
    ("AWS_ROLE_ARN", "arn:aws:iam::1:role/x", KEPT, CLEARED, KEPT, KEPT),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token", KEPT, CLEARED, KEPT, KEPT),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1", KEPT, CLEARED, KEPT, KEPT),
    ("AWS_METADATA_URL", "http://127.0.0.1:1", KEPT, CLEARED, KEPT, KEPT),
    ("AWS_ACCOUNT_ID_ENDPOINT_MODE", "required", KEPT, CLEARED, KEPT, KEPT),
    ("AWS_WHATEVER_COMES_NEXT", "x", KEPT, CLEARED, KEPT, KEPT),
    ("BOTO_CONFIG", "/boto", KEPT, CLEARED, KEPT, KEPT),
    ("CDKTF_AUTO_APPROVE", "true", CLEARED, CLEARED, CLEARED, KEPT),
    ("CDKTF_IGNORE_MISSING_STACK_DEPENDENCIES", "true", CLEARED, CLEARED, CLEARED, KEPT),
    ("CDKTF_SKIP_SYNTH", "true", CLEARED, CLEARED, CLEARED, KEPT),
    ("SYNTH_HCL_OUTPUT", "true", CLEARED, CLEARED, CLEARED, KEPT),
    ("CDKTF_OUTPUT", "/out", KEPT, OURS, KEPT, KEPT),
    ("DISABLE_VERSION_CHECK", "", OURS, OURS, KEPT, KEPT),
    ("CDKTF_DISABLE_PLUGIN_CACHE_ENV", "", OURS, OURS, KEPT, KEPT),
    ("TERRAFORM_BINARY_NAME", "tofu", OURS, OURS, KEPT, KEPT),
    ("CDKTF_LOG_LEVEL", "debug", KEPT, KEPT, KEPT, KEPT),
    ("JSII_RUNTIME", "/other", CLEARED, CLEARED, CLEARED, KEPT),
    ("JSII_NODE", "/usr/bin/node", KEPT, KEPT, KEPT, KEPT),
    ("PIP_USER", "1", KEPT, KEPT, OURS, KEPT),
    ("PIP_INDEX_URL", "https://pypi.example.com", KEPT, KEPT, KEPT, KEPT),
    ("PIP_TARGET", "/elsewhere", KEPT, KEPT, CLEARED, KEPT),
    ("PIP_REQUIRE_VIRTUALENV", "1", KEPT, KEPT, CLEARED, KEPT),
    ("PIPENV_PYPI_MIRROR", "https://pypi.example.com", KEPT, KEPT, KEPT, KEPT),
    ("PIPENV_CUSTOM_VENV_NAME", "x", KEPT, KEPT, CLEARED, KEPT),
    ("npm_config_registry", "https://npm.example.com", KEPT, KEPT, KEPT, KEPT),
    ("NPM_CONFIG_CAFILE", "/ca.pem", KEPT, KEPT, KEPT, KEPT),
    ("npm_config_@mine:registry", "https://npm.example.com", KEPT, KEPT, KEPT, KEPT),
    ("npm_config_//npm.example.com/:_authToken", "t", KEPT, KEPT, KEPT, KEPT),
    ("npm_config_prefix", "/usr/local", KEPT, KEPT, CLEARED, KEPT),
    ("NPM_CONFIG_OMIT", "dev", KEPT, KEPT, CLEARED, KEPT),
    ("npm_config_package-lock", "false", KEPT, KEPT, CLEARED, KEPT),
    ("NODE_ENV", "production", KEPT, KEPT, CLEARED, KEPT),
    ("NODE_PRESERVE_SYMLINKS", "1", CLEARED, CLEARED, CLEARED, KEPT),
    ("NODE_EXTRA_CA_CERTS", "/ca.pem", KEPT, KEPT, KEPT, KEPT),
    ("PYTHONHOME", "/usr", CLEARED, CLEARED, CLEARED, KEPT),
    ("PYTHONPATH", "/somewhere", CLEARED, CLEARED, CLEARED, KEPT),
    ("PYTHONSAFEPATH", "1", CLEARED, CLEARED, CLEARED, KEPT),
    ("PYTHONINSPECT", "1", CLEARED, CLEARED, CLEARED, KEPT),
    ("PYTHONOPTIMIZE", "2", CLEARED, CLEARED, CLEARED, KEPT),
    ("PYTHONWARNINGS", "error", CLEARED, CLEARED, CLEARED, KEPT),
    ("PYTHONIOENCODING", "latin-1", KEPT, KEPT, KEPT, KEPT),
    ("PYTHONUTF8", "0", OURS, OURS, KEPT, KEPT),
    ("PYTHONUNBUFFERED", "1", KEPT, KEPT, KEPT, KEPT),
    ("VIRTUAL_ENV", "/another", OURS, OURS, KEPT, KEPT),
    ("GIT_DIR", "/repo/.git", CLEARED, CLEARED, CLEARED, KEPT),
    ("GIT_INDEX_FILE", "/repo/.git/index", CLEARED, CLEARED, CLEARED, KEPT),
    ("GIT_SSH_COMMAND", "ssh -v", KEPT, KEPT, KEPT, KEPT),
    ("SSH_AUTH_SOCK", "/agent", KEPT, KEPT, KEPT, KEPT),
    ("RSYNC_PROXY", "127.0.0.1:1", KEPT, KEPT, KEPT, KEPT),
    ("no_proxy", "example.com", KEPT, OURS, KEPT, KEPT),
    ("HTTPS_PROXY", "http://127.0.0.1:1", KEPT, KEPT, KEPT, KEPT),
    ("SSL_CERT_FILE", "/ca.pem", KEPT, KEPT, KEPT, KEPT),
    ("PATH", "/usr/bin:/bin", OURS, OURS, KEPT, KEPT),
    ("EDITOR", "vi", KEPT, KEPT, KEPT, KEPT),
)


def became(name: str, value: str, seen: dict[str, str]) -> str:
    if name not in seen:
        return CLEARED
    return KEPT if seen[name] == value else OURS


@pytest.mark.parametrize(("name", "value", "shell_", "local_", "set_up_", "app"), EXPECTED)
def test_a_variable_in_every_place(
    name: str,
    value: str,
    shell_: str,
    local_: str,
    set_up_: str,
    app: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(terraform, "require_terraform", lambda _: "1.11.4")
    monkeypatch.setattr(terraform, "find_provider", lambda _: ProviderSource(tmp_path))
    base = {"HOME": str(tmp_path), name: value}
    monkeypatch.setattr(environment, "commands", partial(environment.commands, build=tmp_path))

    def ours() -> dict[str, str]:
        return environment.commands(base)

    def sealed() -> dict[str, str]:
        return local.variables(Endpoint(5577, 1, tmp_path), "us-east-1", base)

    for expected, make in ((shell_, ours), (local_, sealed)):
        if expected == REFUSED:
            with pytest.raises(RefusedVariableError, match=f"{name} is set in the environment: .*Unset it"):
                make()
        else:
            assert became(name, value, make()) == expected

    monkeypatch.setattr(os, "environ", base)
    assert became(name, value, set_up._environment()) == set_up_
    if app == REFUSED:
        with pytest.raises(RefusedVariableError, match=f"{name} is set in the environment: "):
            variables.refuse(base, "app")
    else:
        variables.refuse(base, "app")


def test_every_row_is_tried() -> None:
    tried = [row_of(each[0]) for each in EXPECTED]

    # Which terraform.rc the CLI gets is tried in test_terraform.py, what pipenv gets in test_set_up.py.
    elsewhere = ("TF_PLUGIN_CACHE_", "PIPENV_VENV_IN_PROJECT")
    missing = [row.names for row in TABLE if row not in tried and not row.names.startswith(elsewhere)]
    assert missing == []


def test_what_is_cleared_or_refused_says_why_and_every_row_who_reads_it() -> None:
    for row in TABLE:
        assert row.source.startswith("https://"), row.names
        if {CLEARED, REFUSED} & {row.at("shell"), row.at("local"), row.at("set-up"), row.app}:
            assert row.why, row.names


def test_the_app_refuses_what_nobody_took_out() -> None:
    """The CLI was started outside our shells; what comes after the app is Terraform."""
    wrong = {"TF_WORKSPACE": "dev", "TF_DATA_DIR": "/tmp/tf", "TF_CLI_ARGS_plan": "-lock=false"}

    ended = subprocess.run(
        [sys.executable, "main.py"],
        cwd=ROOT,
        env={**os.environ, **wrong},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    for name in wrong:
        assert f"{name} is set in the environment: " in ended.stderr
    assert "make shell, which clears it" in ended.stderr


def test_a_shell_that_may_not_open_says_which_variable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_WORKSPACE", "dev")

    assert shell.main(["--", "true"]) == 1

    assert "TF_WORKSPACE is set in the environment: Terraform would keep every state" in capsys.readouterr().err


def test_a_shell_says_what_it_leaves_out(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_DATA_DIR", "/tmp/tf")

    assert shell.main(["--", "sh", "-c", 'echo "it is ${TF_DATA_DIR-gone}"']) == 0

    said = capfd.readouterr()
    assert said.out == "it is gone\n"
    assert "shell: TF_DATA_DIR is cleared: all stacks would share one folder" in said.err


def test_what_a_start_up_file_sets_again_is_taken_out_of_an_interactive_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".bashrc").write_text("export TF_DATA_DIR=/tmp/tf\n", encoding="utf-8")
    for name, value in (("HOME", str(tmp_path)), ("SHELL", "/bin/bash"), ("TF_DATA_DIR", "/tmp/tf")):
        monkeypatch.setenv(name, value)
    seen = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "ML_X": "a 'b"}

    command, more = shell._interactive("AWS", seen, tmp_path)
    ended = subprocess.run(
        [*command, "-c", 'echo "${TF_DATA_DIR-gone} $ML_X"'],
        env={**seen, **more},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert ended.stdout == "gone a 'b\n"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", ["--max-old-space-size=4096", "--unhandled-rejections=warn-with-error-code"]),
        (
            "--no-warnings",
            ["--no-warnings", "--max-old-space-size=4096", "--unhandled-rejections=warn-with-error-code"],
        ),
        ("--max_old_space_size=512", ["--max_old_space_size=512", "--unhandled-rejections=warn-with-error-code"]),
    ],
)
def test_a_persons_options_of_node_come_with_those_that_the_cli_needs(given: str, expected: list[str]) -> None:
    options = environment._node_options(given)

    assert options.split() == expected
    assert environment._node_options(options) == options  # a shell within a shell


def test_ops_says_which_variable_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        variables.refuse({"TF_WORKSPACE": "dev"}, "shell")

    monkeypatch.setattr(cli, "app", refused)

    assert cli.main(["status"]) == 1

    assert "ops: TF_WORKSPACE is set in the environment" in " ".join(capsys.readouterr().err.split())


def test_a_shell_within_the_local_one_does_not_speak_of_your_account() -> None:
    assert shell._whom({}) == "your AWS account"
    assert shell._whom({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}) == (
        "what the environment names (AWS_ENDPOINT_URL_S3=http://127.0.0.1:1)"
    )


def test_pip_installs_into_the_virtual_environment_whatever_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """PIP_USER=1 fails there: "Can not perform a '--user' install"."""
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--find-links", "/nowhere", "no-such-one"]
    monkeypatch.setenv("PIP_USER", "1")

    ended = subprocess.run(pip, env=set_up._environment(), capture_output=True, text=True, check=False, timeout=120)

    assert "--user" not in ended.stderr
    assert "No matching distribution found for no-such-one" in ended.stderr
