"""Define how each environment variable that affects this project's programs is handled.

Terraform, the AWS provider, the AWS SDKs, pip, pipenv, npm, Node, git, ssh, Python and the cdktf CLI read hundreds of
variables that people set for other projects. Most are useful here too (credentials, proxies, certificates, mirrors).
The others are cleared for the commands, or refused where clearing one would hide existing resources.

Standard library only: set-up imports this with the system's Python.
"""

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Final, Literal, NamedTuple

# kept: passed on. cleared: not passed on. refused: no command runs while it is set. ours: set by this project.
Decision = Literal["kept", "cleared", "refused", "ours"]
# shell: `make shell`. local: `make local` and its shell, which must reach only the embedded AWS.
# set-up: the installation. app: main.py, if the CLI was started outside our shells; it can only refuse.
Place = Literal["shell", "local", "set-up", "app"]


class Row(NamedTuple):
    """Define the handling of the variables that `names` match. why: shown when a variable is cleared or refused.

    local, set_up: None means the same as `shell`. harmless: a value without effect. source: the program that reads it.
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
        """Return the decision for that place."""
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

# The first row that matches a variable applies. Variables without a row are kept.
TABLE: Final = (
    # --- Terraform
    Row(
        "TF_WORKSPACE",
        _TERRAFORM,
        "refused",
        "Terraform would keep every state under another key, where ops and the other stacks cannot find it, so "
        "deployed resources would seem to be missing. For a second deployment, set deployment.name",
        app="refused",
        harmless="default",
    ),
    Row(
        "TF_DATA_DIR",
        _TERRAFORM,
        "cleared",
        "all stacks would share one folder, and Terraform would offer to overwrite one stack's state with another's",
        app="refused",
    ),
    Row(
        "TF_CLI_ARGS TF_CLI_ARGS_*",
        _TERRAFORM,
        "cleared",
        "the CLI passes Terraform its arguments and parses the output; cdktf --help lists the CLI's options",
        app="refused",
    ),
    Row(
        "TF_REATTACH_PROVIDERS",
        "https://developer.hashicorp.com/terraform/plugin/debugging",
        "cleared",
        "another program would replace the AWS provider",
        app="refused",
    ),
    Row("TF_INPUT", _TERRAFORM, "cleared", "the CLI passes your answers to Terraform's questions"),
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
        "Terraform would encrypt the states with that key, so ops and the other stacks could not read them",
        app="refused",
    ),
    Row(
        "TF_AWS_IGNORE_TAGS_* TF_AWS_DEFAULT_TAGS_*",
        _PROVIDER,
        "cleared",
        "ops finds deployed resources by the tags that the stacks set",
        app="refused",
    ),
    Row(
        "AWS_S3_ENDPOINT AWS_DYNAMODB_ENDPOINT AWS_IAM_ENDPOINT AWS_STS_ENDPOINT AWS_SSO_ENDPOINT TF_AWS_*_ENDPOINT",
        _S3_BACKEND,
        local="cleared",
        why="the embedded AWS has one endpoint for all services",
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
    Row("AWS_*", _SDK, local="cleared", why="this shell sets everything that is needed to reach the embedded AWS"),
    Row("BOTO_CONFIG", _SDK, local="cleared", why="it may set another endpoint or other credentials"),
    # --- the cdktf CLI, its library and jsii
    Row(
        "CDKTF_AUTO_APPROVE",
        _CDKTF,
        "cleared",
        "deploy and destroy would not ask for approval; use the option --auto-approve instead",
    ),
    Row(
        "CDKTF_IGNORE_MISSING_STACK_DEPENDENCIES",
        _CDKTF,
        "cleared",
        "mlcore could be destroyed while other stacks depend on it",
    ),
    Row(
        "CDKTF_APP CDKTF_STACKS CDKTF_VAR CDKTF_VAR_FILE CDKTF_HCL CDKTF_SKIP_SYNTH CDKTF_MIGRATE_STATE "
        "CDKTF_REFRESH_ONLY CDKTF_CONTEXT_JSON SYNTH_HCL_OUTPUT",
        _CDKTF,
        "cleared",
        "it would affect every cdktf command; use the option of the command instead",
    ),
    Row("CDKTF_OUTPUT", _CDKTF, local="ours"),
    Row("CDKTF_DISABLE_PLUGIN_CACHE_ENV DISABLE_VERSION_CHECK", _CDKTF, "ours"),
    Row("TERRAFORM_BINARY_NAME", _CDKTF, "ours"),
    Row("CDKTF_*", _CDKTF),
    Row("JSII_RUNTIME", _JSII, "cleared", "the bindings were tested with their own runtime"),
    Row("JSII_*", _JSII),
    # --- pip and pipenv
    Row("PIP_USER", _PIP, set_up="ours"),  # 0: `user = true` in a pip.conf has no place in a virtual environment either
    Row(
        "PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_FIND_LINKS PIP_NO_INDEX PIP_TRUSTED_HOST PIP_CERT PIP_CLIENT_CERT "
        "PIP_PROXY PIP_TIMEOUT PIP_DEFAULT_TIMEOUT PIP_RETRIES PIP_CACHE_DIR PIP_NO_CACHE_DIR PIP_CONFIG_FILE "
        "PIP_KEYRING_PROVIDER PIP_DISABLE_PIP_VERSION_CHECK PIP_NO_INPUT PIP_PROGRESS_BAR PIP_NO_COLOR",
        _PIP,
    ),
    Row("PIP_*", _PIP, set_up="cleared", why="the lock file determines what is installed, into .venv"),
    Row("PIPENV_PYPI_MIRROR PIPENV_CACHE_DIR PIPENV_TIMEOUT PIPENV_INSTALL_TIMEOUT PIPENV_MAX_RETRIES", _PIPENV),
    Row("PIPENV_VENV_IN_PROJECT PIPENV_IGNORE_VIRTUALENVS PIPENV_NOSPIN PIPENV_PIPFILE", _PIPENV, set_up="ours"),
    Row("PIPENV_*", _PIPENV, set_up="cleared", why="the lock file determines what is installed, into .venv"),
    # --- npm and Node
    Row(
        "NPM_CONFIG_REGISTRY NPM_CONFIG_*:REGISTRY NPM_CONFIG_//* NPM_CONFIG_CA NPM_CONFIG_CAFILE NPM_CONFIG_CERT "
        "NPM_CONFIG_KEY NPM_CONFIG_PROXY NPM_CONFIG_HTTP_PROXY NPM_CONFIG_HTTPS_PROXY NPM_CONFIG_NOPROXY "
        "NPM_CONFIG_STRICT_SSL NPM_CONFIG_CACHE NPM_CONFIG_USERCONFIG NPM_CONFIG_GLOBALCONFIG NPM_CONFIG_FETCH_* "
        "NPM_CONFIG_MAXSOCKETS NPM_CONFIG_PREFER_OFFLINE NPM_CONFIG_OFFLINE NPM_CONFIG__AUTH* NPM_CONFIG_COLOR "
        "NPM_CONFIG_UPDATE_NOTIFIER",
        _NPM,
    ),
    Row("NPM_CONFIG_*", _NPM, set_up="cleared", why="the lock file determines what is installed, into this folder"),
    Row("NODE_ENV", _NPM, set_up="cleared", why="npm would not install the packages for the tests"),
    Row(
        "NODE_PRESERVE_SYMLINKS NODE_PRESERVE_SYMLINKS_MAIN",
        _NODE,
        "cleared",
        "the cdktf CLI is started through a symbolic link",
    ),
    Row("NODE_OPTIONS NODE_EXTRA_CA_CERTS NODE_USE_ENV_PROXY NODE_*", _NODE),
    # --- Python
    Row(
        "PYTHONHOME PYTHONPLATLIBDIR PYTHONEXECUTABLE",
        _PYTHON,
        "cleared",
        "Python would search for its library outside .venv",
    ),
    Row("PYTHONPATH", _PYTHON, "cleared", "other packages would take precedence over those of the lock file"),
    Row("PYTHONSAFEPATH", _PYTHON, "cleared", "main.py would not find the packages beside it"),
    Row("PYTHONINSPECT", _PYTHON, "cleared", "every Python program would wait for input at its end"),
    Row("PYTHONOPTIMIZE", _PYTHON, "cleared", "the type checks of the bindings would be disabled"),
    Row("PYTHONWARNINGS", _PYTHON, "cleared", "a warning from any package could abort a command"),
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
        "git would use another repository than the current one, as in a hook",
    ),
    Row("GIT_*", _GIT),
    Row("SSH_*", _SSH),
    Row("RSYNC_*", "https://download.samba.org/pub/rsync/rsync.1#ENVIRONMENT_VARIABLES"),
    # --- proxies and certificates, for all of them
    Row("NO_PROXY no_proxy", _GO, local="ours"),
    Row("HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy", _GO),
    Row(
        "SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE", "https://pkg.go.dev/crypto/x509#SystemCertPool"
    ),
    Row("PATH", _TERRAFORM, "ours"),
)


class Found(NamedTuple):
    """Pair a variable that is set with its row."""

    name: str
    row: Row


class RefusedVariableError(Exception):
    """Report that a refused variable is set. The message has the reason and the fix."""


def row_of(name: str) -> Row | None:
    """Return the row for a variable; None if no program of this project reads it."""
    # npm ignores case, and treats - as _.
    read = name.upper().replace("-", "_") if name.lower().startswith("npm_config_") else name
    for row in TABLE:
        if any(fnmatchcase(read, pattern) for pattern in row.names.split()):
            return row
    return None


def found(variables: Mapping[str, str], place: Place, decision: Decision) -> list[Found]:
    """Return the variables to which the decision applies."""
    rows = ((name, row_of(name)) for name in variables)
    return [
        Found(name, row)
        for name, row in rows
        if row and row.at(place) == decision and variables[name] not in ("", row.harmless)
    ]


def cleaned(variables: Mapping[str, str], place: Place) -> dict[str, str]:
    """Return the variables without those that are cleared or refused there."""
    rows = {name: row_of(name) for name in variables}
    gone = {name for name, row in rows.items() if row and row.at(place) in ("cleared", "refused")}
    return {name: value for name, value in variables.items() if name not in gone}


def refuse(variables: Mapping[str, str], place: Place) -> None:
    """Raise RefusedVariableError if a variable is set that is refused there."""
    if refused := found(variables, place, "refused"):
        raise RefusedVariableError("\n".join(_refusals(refused, place)))


def _refusals(refused: Iterable[Found], place: Place) -> Iterator[str]:
    for name, row in refused:
        or_shell = ", or use make shell, which clears it" if place == "app" and row.shell == "cleared" else ""
        yield f"{name} is set in the environment: {row.why}. Unset it (unset {name}){or_shell}"


def left_out(variables: Mapping[str, str], place: Place) -> list[str]:
    """Return a line for each variable that is set and cleared there."""
    return [f"{name} is cleared: {row.why}" for name, row in found(variables, place, "cleared")]
