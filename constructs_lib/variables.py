"""Every environment variable that steers a program of this project, and what becomes of it.

Terraform, the AWS provider, the AWS SDKs, pip, pipenv, npm, Node, git, ssh, Python and the cdktf CLI read hundreds of
variables that people set for other projects. Most are welcome here too (credentials, proxies, certificates, mirrors).
The others are taken out of what the commands see, or refused where taking one out would hide what exists.

Standard library only: set-up reads this with the system's Python.
"""

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Final, Literal, NamedTuple

# kept: handed on. cleared: not handed on. refused: nothing runs while it is set. ours: set by this project.
Decision = Literal["kept", "cleared", "refused", "ours"]
# shell: `make shell`. local: `make local` and its shell, which must reach the embedded AWS and nothing else.
# set-up: what installs. app: main.py, when the CLI was started outside our shells; it can only refuse.
Place = Literal["shell", "local", "set-up", "app"]


class Row(NamedTuple):
    """What becomes of the variables that one of `names` matches. why: shown where something is cleared or refused.

    local, set_up: None means as in `shell`. harmless: a value with which it changes nothing. source: who reads it.
    """

    names: str
    source: str
    shell: Decision = "kept"
    why: str = ""
    local: Decision | None = None
    set_up: Decision | None = None
    app: Literal["kept", "refused"] = "kept"
    harmless: str | None = None

    def at(self, place: Place) -> Decision:
        """What becomes of it there."""
        if place == "app":
            return self.app
        return {"shell": self.shell, "local": self.local, "set-up": self.set_up}[place] or self.shell


_TERRAFORM: Final = "https://developer.hashicorp.com/terraform/cli/config/environment-variables"
_CLI_CONFIG: Final = "https://developer.hashicorp.com/terraform/cli/config/config-file"
_S3_BACKEND: Final = "https://developer.hashicorp.com/terraform/language/backend/s3"
_PROVIDER: Final = "https://registry.terraform.io/providers/hashicorp/aws/5.100.0/docs"
_SDK: Final = "https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html#EVarSettings"
_CDKTF: Final = "https://developer.hashicorp.com/terraform/cdktf/create-and-deploy/environment-variables"
_JSII: Final = "https://aws.github.io/jsii/user-guides/language-support/runtime-environment/"
_PIP: Final = "https://pip.pypa.io/en/stable/topics/configuration/#environment-variables"
_PIPENV: Final = "https://pipenv.pypa.io/en/latest/configuration.html"
_NPM: Final = "https://docs.npmjs.com/cli/v10/using-npm/config"
_NODE: Final = "https://nodejs.org/docs/latest-v22.x/api/cli.html#environment-variables_1"
_PYTHON: Final = "https://docs.python.org/3/using/cmdline.html#environment-variables"
_GIT: Final = "https://git-scm.com/docs/git#_environment_variables"
_SSH: Final = "https://man.openbsd.org/ssh#ENVIRONMENT"
_GO: Final = "https://pkg.go.dev/net/http#ProxyFromEnvironment"

# The first row that matches a variable holds. What no row names is kept.
TABLE: Final = (
    # --- Terraform
    Row(
        "TF_WORKSPACE",
        _TERRAFORM,
        "refused",
        "Terraform would keep every state under another key, where ops and the other stacks do not look: what is "
        "deployed would seem gone. For a second deployment set deployment.name",
        app="refused",
        harmless="default",
    ),
    Row(
        "TF_DATA_DIR",
        _TERRAFORM,
        "cleared",
        "all stacks would share one folder, and Terraform would offer to move one stack's state over another's",
        app="refused",
    ),
    Row(
        "TF_CLI_ARGS TF_CLI_ARGS_*",
        _TERRAFORM,
        "cleared",
        "the CLI gives Terraform its arguments, and reads what it answers; cdktf --help lists its own options",
        app="refused",
    ),
    Row(
        "TF_REATTACH_PROVIDERS",
        "https://developer.hashicorp.com/terraform/plugin/debugging",
        "cleared",
        "another program would stand in for the AWS provider",
        app="refused",
    ),
    Row("TF_INPUT", _TERRAFORM, "cleared", "the CLI answers Terraform's questions with what you tell it"),
    Row("TF_CLI_CONFIG_FILE TERRAFORM_CONFIG", _CLI_CONFIG, "ours"),  # a person's provider_installation is taken over
    Row("TF_PLUGIN_CACHE_DIR", _CLI_CONFIG, "ours"),  # one that several `terraform init` may use at once
    Row("TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE", _CLI_CONFIG, "ours"),
    Row("CHECKPOINT_DISABLE", _TERRAFORM, "ours"),
    Row("TF_LOG TF_LOG_*", "https://developer.hashicorp.com/terraform/internals/debugging"),
    Row("TF_TOKEN_*", f"{_CLI_CONFIG}#environment-variable-credentials"),
    Row("TF_VAR_* TF_IN_AUTOMATION TF_REGISTRY_* TF_STATE_PERSIST_INTERVAL TF_CLOUD_* TF_IGNORE", _TERRAFORM),
    # --- the S3 backend and the AWS provider, beyond what every AWS SDK reads
    Row(
        "AWS_SSE_CUSTOMER_KEY",
        _S3_BACKEND,
        "cleared",
        "Terraform would encrypt the states with that key, and neither ops nor the other stacks could read them",
        app="refused",
    ),
    Row(
        "TF_AWS_IGNORE_TAGS_* TF_AWS_DEFAULT_TAGS_*",
        _PROVIDER,
        "cleared",
        "ops finds what is deployed by the tags that the stacks set",
        app="refused",
    ),
    Row(
        "AWS_S3_ENDPOINT AWS_DYNAMODB_ENDPOINT AWS_IAM_ENDPOINT AWS_STS_ENDPOINT AWS_SSO_ENDPOINT TF_AWS_*_ENDPOINT",
        _S3_BACKEND,
        local="cleared",
        why="the embedded AWS has one endpoint for everything",
    ),
    Row("TF_APPEND_USER_AGENT", _PROVIDER),
    # --- every AWS SDK, the AWS CLI
    Row("AWS_CA_BUNDLE AWS_MAX_ATTEMPTS AWS_RETRY_MODE AWS_PAGER AWS_CLI_* AWS_DEFAULT_OUTPUT", _SDK),
    Row(
        "AWS_ENDPOINT_URL AWS_IGNORE_CONFIGURED_ENDPOINT_URLS AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY "
        "AWS_SESSION_TOKEN AWS_PROFILE AWS_DEFAULT_PROFILE AWS_CONFIG_FILE AWS_SHARED_CREDENTIALS_FILE AWS_REGION "
        "AWS_DEFAULT_REGION AWS_EC2_METADATA_DISABLED",
        _SDK,
        local="ours",
    ),
    # AWS_ENDPOINT_URL_S3, AWS_USE_FIPS_ENDPOINT, AWS_USE_DUALSTACK_ENDPOINT, AWS_ROLE_ARN, AWS_CONTAINER_*, …
    Row("AWS_*", _SDK, local="cleared", why="the embedded AWS is reached by what this shell sets, and nothing else"),
    Row("BOTO_CONFIG", _SDK, local="cleared", why="it may name another endpoint or other credentials"),
    # --- the cdktf CLI, its library and jsii
    Row(
        "CDKTF_AUTO_APPROVE",
        _CDKTF,
        "cleared",
        "deploy and destroy would not ask; give --auto-approve where that is meant",
    ),
    Row(
        "CDKTF_IGNORE_MISSING_STACK_DEPENDENCIES",
        _CDKTF,
        "cleared",
        "mlcore could be destroyed from under the stacks that stand on it",
    ),
    Row(
        "CDKTF_APP CDKTF_STACKS CDKTF_VAR CDKTF_VAR_FILE CDKTF_HCL CDKTF_SKIP_SYNTH CDKTF_MIGRATE_STATE "
        "CDKTF_REFRESH_ONLY CDKTF_CONTEXT_JSON SYNTH_HCL_OUTPUT",
        _CDKTF,
        "cleared",
        "it would change what every cdktf command does; give it as an option of the one that is meant",
    ),
    Row("CDKTF_OUTPUT", _CDKTF, local="ours"),
    Row("CDKTF_DISABLE_PLUGIN_CACHE_ENV DISABLE_VERSION_CHECK", _CDKTF, "ours"),
    Row("TERRAFORM_BINARY_NAME", _CDKTF, "ours"),
    Row("CDKTF_*", _CDKTF),
    Row("JSII_RUNTIME", _JSII, "cleared", "the bindings were tried with the runtime that they bring"),
    Row("JSII_*", _JSII),
    # --- pip and pipenv
    Row("PIP_USER", _PIP, set_up="ours"),  # 0: `user = true` in a pip.conf has no place in a virtual environment either
    Row(
        "PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_FIND_LINKS PIP_NO_INDEX PIP_TRUSTED_HOST PIP_CERT PIP_CLIENT_CERT "
        "PIP_PROXY PIP_TIMEOUT PIP_DEFAULT_TIMEOUT PIP_RETRIES PIP_CACHE_DIR PIP_NO_CACHE_DIR PIP_CONFIG_FILE "
        "PIP_KEYRING_PROVIDER PIP_DISABLE_PIP_VERSION_CHECK PIP_NO_INPUT PIP_PROGRESS_BAR PIP_NO_COLOR",
        _PIP,
    ),
    Row("PIP_*", _PIP, set_up="cleared", why="the lock file says what is installed, and it belongs into .venv"),
    Row("PIPENV_PYPI_MIRROR PIPENV_CACHE_DIR PIPENV_TIMEOUT PIPENV_INSTALL_TIMEOUT PIPENV_MAX_RETRIES", _PIPENV),
    Row("PIPENV_VENV_IN_PROJECT PIPENV_IGNORE_VIRTUALENVS PIPENV_NOSPIN PIPENV_PIPFILE", _PIPENV, set_up="ours"),
    Row("PIPENV_*", _PIPENV, set_up="cleared", why="the lock file says what is installed, and it belongs into .venv"),
    # --- npm and Node
    Row(
        "NPM_CONFIG_REGISTRY NPM_CONFIG_*:REGISTRY NPM_CONFIG_//* NPM_CONFIG_CA NPM_CONFIG_CAFILE NPM_CONFIG_CERT "
        "NPM_CONFIG_KEY NPM_CONFIG_PROXY NPM_CONFIG_HTTP_PROXY NPM_CONFIG_HTTPS_PROXY NPM_CONFIG_NOPROXY "
        "NPM_CONFIG_STRICT_SSL NPM_CONFIG_CACHE NPM_CONFIG_USERCONFIG NPM_CONFIG_GLOBALCONFIG NPM_CONFIG_FETCH_* "
        "NPM_CONFIG_MAXSOCKETS NPM_CONFIG_PREFER_OFFLINE NPM_CONFIG_OFFLINE NPM_CONFIG__AUTH* NPM_CONFIG_COLOR "
        "NPM_CONFIG_UPDATE_NOTIFIER",
        _NPM,
    ),
    Row("NPM_CONFIG_*", _NPM, set_up="cleared", why="the lock file says what is installed, and it belongs here"),
    Row("NODE_ENV", _NPM, set_up="cleared", why="npm would leave out what the tests use"),
    Row("NODE_PRESERVE_SYMLINKS NODE_PRESERVE_SYMLINKS_MAIN", _NODE, "cleared", "the cdktf CLI is started by a link"),
    Row("NODE_OPTIONS NODE_EXTRA_CA_CERTS NODE_USE_ENV_PROXY NODE_*", _NODE),
    # --- Python
    Row(
        "PYTHONHOME PYTHONPLATLIBDIR PYTHONEXECUTABLE",
        _PYTHON,
        "cleared",
        "Python would look for its library elsewhere than in .venv",
    ),
    Row("PYTHONPATH", _PYTHON, "cleared", "other packages would come before those of the lock file"),
    Row("PYTHONSAFEPATH", _PYTHON, "cleared", "main.py would not find the packages beside it"),
    Row("PYTHONINSPECT", _PYTHON, "cleared", "every Python would wait for input at its end"),
    Row("PYTHONOPTIMIZE", _PYTHON, "cleared", "the bindings' checks of types, which catch mistakes, would be left out"),
    Row("PYTHONWARNINGS", _PYTHON, "cleared", "a warning of somebody's package could end a command"),
    Row("PYTHONUTF8", _PYTHON, "ours"),
    Row("PYTHONIOENCODING", _PYTHON),  # the terminal's
    Row("VIRTUAL_ENV", _PYTHON, "ours"),
    Row("PYTHON*", _PYTHON),
    # --- git and ssh
    Row(
        "GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_COMMON_DIR "
        "GIT_NAMESPACE GIT_PREFIX",
        _GIT,
        "cleared",
        "git would take another repository for the one it is in, as in a hook",
    ),
    Row("GIT_*", _GIT),
    Row("SSH_*", _SSH),
    Row("RSYNC_*", "https://download.samba.org/pub/rsync/rsync.1#ENVIRONMENT_VARIABLES"),
    # --- the way out, for all of them
    Row("NO_PROXY no_proxy", _GO, local="ours"),
    Row("HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy", _GO),
    Row(
        "SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE", "https://pkg.go.dev/crypto/x509#SystemCertPool"
    ),
    Row("PATH", _TERRAFORM, "ours"),
)


class Found(NamedTuple):
    """A variable that is set, and its row."""

    name: str
    row: Row


class RefusedVariableError(Exception):
    """A variable is set with which nothing may run; the message says why and what to do."""


def row_of(name: str) -> Row | None:
    """The row that holds for a variable; None when no program of this project reads it."""
    # npm takes any case, and - for _.
    read = name.upper().replace("-", "_") if name.lower().startswith("npm_config_") else name
    for row in TABLE:
        if any(fnmatchcase(read, pattern) for pattern in row.names.split()):
            return row
    return None


def found(variables: Mapping[str, str], place: Place, decision: Decision) -> list[Found]:
    """What of `variables` that decision falls on."""
    rows = ((name, row_of(name)) for name in variables)
    return [
        Found(name, row)
        for name, row in rows
        if row and row.at(place) == decision and variables[name] not in ("", row.harmless)
    ]


def cleaned(variables: Mapping[str, str], place: Place) -> dict[str, str]:
    """The variables without those that are cleared or refused there."""
    rows = {name: row_of(name) for name in variables}
    gone = {name for name, row in rows.items() if row and row.at(place) in ("cleared", "refused")}
    return {name: value for name, value in variables.items() if name not in gone}


def refuse(variables: Mapping[str, str], place: Place) -> None:
    """Raises RefusedVariableError when one is set that is refused there."""
    if refused := found(variables, place, "refused"):
        raise RefusedVariableError("\n".join(_refusals(refused, place)))


def _refusals(refused: Iterable[Found], place: Place) -> Iterator[str]:
    for name, row in refused:
        or_shell = ", or use make shell, which leaves it out" if place == "app" and row.shell == "cleared" else ""
        yield f"{name} is set in the environment: {row.why}. Unset it (unset {name}){or_shell}"


def left_out(variables: Mapping[str, str], place: Place) -> list[str]:
    """A line for each variable that a person has set and that is cleared there."""
    return [f"{name} is left out: {row.why}" for name, row in found(variables, place, "cleared")]
