"""Terraform on this machine: is it there, is it new enough, and where does it take the AWS provider from."""

import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from constructs_lib import variables
from ops.core import files
from ops.core.errors import FixableError

# S3 native locking and write-only attributes are in 1.11.
OLDEST = (1, 11, 0)
PROVIDER_VERSION = "5.100.0"

# Names a folder with an unpacked provider mirror, for machines that do not reach the registry.
MIRROR_VARIABLE = "ML_INFRA_PROVIDER_MIRROR"

_REGISTRY = "registry.terraform.io"
_PROVIDER = Path(_REGISTRY, "hashicorp", "aws", PROVIDER_VERSION)
_REGISTRY_SECONDS = 5
# Begins what is written here, which a shell within a shell must not take for the person's own.
_OURS = "# written by ops"
# A block of HCL, or a key of JSON, which Terraform takes as well.
_INSTALLATION = re.compile(r'^[\s{]*("?)provider_installation\1\s*[:={\[]', re.MULTILINE)
_INSTALL = "https://developer.hashicorp.com/terraform/install"


class TerraformError(FixableError):
    """Terraform or its provider cannot be used."""


def require_terraform(environment: Mapping[str, str] = os.environ) -> str:
    """Return Terraform's version, e.g. "1.11.4". Raises TerraformError when it is missing or older than 1.11."""
    program = shutil.which("terraform", path=environment.get("PATH"))
    if program is None:
        raise TerraformError("terraform is not on the PATH", fix=f"install 1.11 or newer, see {_INSTALL}")
    # A CLI configuration that is named but missing puts a warning before the answer, and TF_CLI_ARGS may say anything.
    quiet = {
        key: value for key, value in variables.cleaned(environment, "shell").items() if key != "TF_CLI_CONFIG_FILE"
    }
    answer = subprocess.run(
        [program, "version", "-json"],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        env=quiet | {"CHECKPOINT_DISABLE": "1"},
    )
    try:
        version = str(json.loads(answer.stdout)["terraform_version"])
        numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    except (ValueError, KeyError, TypeError):
        said = (answer.stderr or answer.stdout).strip()
        raise TerraformError(
            f"`{program} version` failed and printed: {said[-500:] or 'nothing'}",
            fix=f"reinstall Terraform 1.11 or newer, see {_INSTALL}",
        ) from None
    if numbers < OLDEST:
        raise TerraformError(
            f"terraform {version} at {program} is too old", fix=f"install 1.11 or newer, see {_INSTALL}"
        )
    return version


@dataclass(frozen=True)
class ProviderSource:
    """Where `terraform init` takes hashicorp/aws from: an unpacked mirror, or the registry (mirror is None).

    configuration: the person's own CLI configuration, where that says from where providers come.
    """

    mirror: Path | None
    configuration: Path | None = None

    def environment(self, build_dir: Path, base: Mapping[str, str] = os.environ) -> dict[str, str]:
        """Return variables for Terraform and the CLI; write their CLI configuration into build_dir.

        From the registry the provider (over 600 MB unpacked) goes through a cache, so that the stacks share one copy.
        It is put there now, if need be: the CLI runs `terraform init` for several stacks at once, and a cache that they
        all would write is not made for that (Terraform's documentation, "Provider Plugin Cache"). They may read it.
        """
        build_dir.mkdir(parents=True, exist_ok=True)
        configuration = build_dir / "terraform.rc"
        if self.configuration is not None:
            cache = build_dir / "terraform-plugins-mirrored"
            cache.mkdir(exist_ok=True)
            _fill(cache, base, self.configuration)
            # As it is: it may hold tokens, which belong into no other file.
            return {
                "TF_CLI_CONFIG_FILE": str(self.configuration),
                "TF_PLUGIN_CACHE_DIR": str(cache),
                "TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE": "true",
                "CDKTF_SKIP_PROVIDER_LOCK": "true",  # it asks the registry, whatever the configuration says
            }
        if self.mirror is not None:
            # Forward slashes: the configuration is HCL, where a backslash escapes.
            path = f'path = "{self.mirror.as_posix()}"'
            text = f"{_OURS}\nprovider_installation {{\n  filesystem_mirror {{\n    {path}\n  }}\n}}\n"
            extra = {"CDKTF_SKIP_PROVIDER_LOCK": "true"}  # `terraform providers lock` asks the registry
        else:
            cache = build_dir / "terraform-plugins"
            cache.mkdir(exist_ok=True)
            _fill(cache, base)
            text = _cached(cache)
            extra = {}
        _write(configuration, text)
        return extra | {"TF_CLI_CONFIG_FILE": str(configuration)}


def _write(file: Path, text: str) -> None:
    """Write the file only if its content differs; another process may be reading it."""
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        files.replace(file, text.encode(), mode=0o644)


def _cached(cache: Path) -> str:
    return f'{_OURS}\nplugin_cache_dir = "{cache.as_posix()}"\nplugin_cache_may_break_dependency_lock_file = true\n'


def _fill(cache: Path, base: Mapping[str, str], configuration: Path | None = None) -> None:
    """Put the provider into the cache, once. If that fails, the deploy's own `terraform init` reports why.

    configuration: the person's own, which says from where; None: from the registry.
    """
    with (cache.parent / f"{cache.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (cache / _PROVIDER).is_dir():
            return
        print(
            f"Downloading the AWS provider {PROVIDER_VERSION} from {configuration or _REGISTRY} (only once) …",
            file=sys.stderr,
            flush=True,
        )
        # Beside the cache and moved when it is whole: an interrupted one leaves nothing that looks like a provider.
        with tempfile.TemporaryDirectory(prefix="terraform-plugins-", dir=cache.parent) as folder:
            own = Path(folder, "cache")
            own.mkdir()
            Path(folder, "rc").write_text(_cached(own), encoding="utf-8")
            needed = {
                "terraform": {"required_providers": {"aws": {"source": "hashicorp/aws", "version": PROVIDER_VERSION}}}
            }
            Path(folder, "main.tf.json").write_text(json.dumps(needed), encoding="utf-8")
            subprocess.run(
                ["terraform", "init", "-input=false", "-no-color"],
                cwd=folder,
                env={
                    **variables.cleaned(base, "shell"),
                    "TF_CLI_CONFIG_FILE": str(configuration or Path(folder, "rc")),
                    "TF_PLUGIN_CACHE_DIR": str(own),
                    "CHECKPOINT_DISABLE": "1",
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )
            if (own / _PROVIDER).is_dir():
                (cache / _PROVIDER).parent.mkdir(parents=True, exist_ok=True)
                (own / _PROVIDER).rename(cache / _PROVIDER)


def find_provider(environment: Mapping[str, str] = os.environ) -> ProviderSource:
    """Find the source of the AWS provider. Raises TerraformError when there is none.

    In this order: the named mirror, the person's own CLI configuration, an unpacked mirror in the usual folders, the
    registry.
    """
    named = environment.get(MIRROR_VARIABLE)
    if named:
        if not (Path(named) / _PROVIDER).is_dir():
            raise TerraformError(
                f"{MIRROR_VARIABLE}={named} has no {_PROVIDER.as_posix()} in it",
                fix=f"set it to the folder that holds {_REGISTRY}, or unset it",
            )
        return ProviderSource(Path(named).resolve())
    if own := _own_configuration(environment):
        return ProviderSource(None, own)
    for folder in _usual_folders():
        if (folder / _PROVIDER).is_dir():
            return ProviderSource(folder)
    if _registry_answers():
        return ProviderSource(None)
    raise TerraformError(
        f"hashicorp/aws {PROVIDER_VERSION} cannot be downloaded ({_REGISTRY} is unreachable), and the usual "
        "folders hold no provider mirror",
        fix=f"connect to the internet, or set {MIRROR_VARIABLE} to a folder with an unpacked provider mirror",
    )


def _own_configuration(environment: Mapping[str, str]) -> Path | None:
    """Return the person's CLI configuration if it has a provider_installation block.

    https://developer.hashicorp.com/terraform/cli/config/config-file#locations
    """
    named = environment.get("TF_CLI_CONFIG_FILE") or environment.get("TERRAFORM_CONFIG")
    file = Path(named) if named else Path.home() / ".terraformrc"
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return file.resolve() if _INSTALLATION.search(text) and not text.startswith(_OURS) else None


def _usual_folders() -> Iterator[Path]:
    """Yield Terraform's implied mirrors, then folders for add-on software one or two levels deep."""
    yield Path.home() / ".terraform.d" / "plugins"
    yield Path("/usr/local/share/terraform/plugins")
    yield Path("/usr/share/terraform/plugins")
    for root in (Path("/opt"), Path("/usr/local/lib"), Path("/usr/lib"), Path("/var/lib")):
        yield root
        for pattern in (f"*/{_REGISTRY}", f"*/*/{_REGISTRY}"):
            yield from (found.parent for found in sorted(root.glob(pattern)))


def _registry_answers() -> bool:
    proxied = any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy"))
    if proxied:
        return True  # only the proxy could tell, and Terraform will
    try:
        with socket.create_connection((_REGISTRY, 443), timeout=_REGISTRY_SECONDS):
            return True
    except OSError:
        return False
