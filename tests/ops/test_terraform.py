"""Finding Terraform and its provider: what is used, and what a person is told when there is none."""

import json
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ops.core import environment, terraform
from ops.core.terraform import MIRROR_VARIABLE, ProviderSource, TerraformError, find_provider, require_terraform

FakeTerraform = Callable[[str], dict[str, str]]


@pytest.fixture
def fake_terraform(tmp_path: Path) -> FakeTerraform:
    """Puts a `terraform` that runs the given shell lines on a PATH of its own."""

    def make(lines: str) -> dict[str, str]:
        program = tmp_path / "bin" / "terraform"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{lines}\n", encoding="utf-8")
        program.chmod(0o755)
        return {"PATH": f"{program.parent}:/usr/bin:/bin"}

    return make


class TestVersion:
    @pytest.mark.parametrize("version", ["1.11.0", "1.11.4", "1.14.0-rc1", "2.0.0"])
    def test_new_enough(self, fake_terraform: FakeTerraform, version: str) -> None:
        found = require_terraform(fake_terraform(f"""echo '{{"terraform_version": "{version}"}}'"""))

        assert found == version

    @pytest.mark.parametrize("version", ["1.10.9", "0.15.5"])
    def test_too_old_says_what_is_needed(self, fake_terraform: FakeTerraform, version: str) -> None:
        with pytest.raises(TerraformError, match=rf"terraform {version} at .* is too old: install 1\.11 or newer"):
            require_terraform(fake_terraform(f"""echo '{{"terraform_version": "{version}"}}'"""))

    def test_missing_says_where_to_get_it(self, tmp_path: Path) -> None:
        with pytest.raises(TerraformError, match=r"not on the PATH.*https://developer\.hashicorp\.com/terraform"):
            require_terraform({"PATH": str(tmp_path)})

    def test_an_answer_that_is_none_is_shown(self, fake_terraform: FakeTerraform) -> None:
        with pytest.raises(TerraformError, match="printed: exec format error"):
            require_terraform(fake_terraform("echo exec format error >&2; exit 126"))

    def test_a_missing_cli_configuration_does_not_hide_the_answer(self, fake_terraform: FakeTerraform) -> None:
        variables = fake_terraform(
            """test -z "$TF_CLI_CONFIG_FILE" && echo '{"terraform_version": "1.11.4"}' || echo warning"""
        )

        assert require_terraform({**variables, "TF_CLI_CONFIG_FILE": "/nowhere/rc"}) == "1.11.4"


def mirror(folder: Path) -> Path:
    (folder / "registry.terraform.io" / "hashicorp" / "aws" / "5.100.0").mkdir(parents=True, exist_ok=True)
    return folder


class TestProvider:
    def test_the_named_mirror_comes_first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(terraform, "_usual_folders", lambda: iter([mirror(tmp_path / "usual")]))

        assert find_provider({MIRROR_VARIABLE: str(mirror(tmp_path / "named"))}).mirror == tmp_path / "named"
        assert find_provider({}).mirror == tmp_path / "usual"

    def test_a_named_folder_without_the_provider_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(
            TerraformError, match=rf"{MIRROR_VARIABLE}={tmp_path} has no registry\.terraform\.io/hashicorp"
        ):
            find_provider({MIRROR_VARIABLE: str(tmp_path)})

    def test_else_the_registry(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(terraform, "_usual_folders", lambda: iter([]))
        monkeypatch.setattr(terraform, "_registry_answers", lambda: True)

        assert find_provider({}).mirror is None

    def test_neither_says_what_to_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(terraform, "_usual_folders", lambda: iter([]))
        monkeypatch.setattr(terraform, "_registry_answers", lambda: False)

        with pytest.raises(TerraformError, match=rf"5\.100\.0 cannot be downloaded.*connect.*or set {MIRROR_VARIABLE}"):
            find_provider({})

    @pytest.mark.parametrize(
        ("text", "taken"),
        [
            ('provider_installation {\n  network_mirror {\n    url = "https://mirror.example.com/"\n  }\n}\n', True),
            ('{"provider_installation": {"network_mirror": {"url": "https://mirror.example.com/"}}}', True),
            ("# provider_installation {\n", False),
            ('credentials "app.terraform.io" {\n  token = "provider_installation"\n}\n', False),
        ],
    )
    def test_a_persons_own_configuration_says_from_where(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, taken: bool
    ) -> None:
        monkeypatch.setattr(terraform, "_usual_folders", lambda: iter([mirror(tmp_path / "usual")]))
        monkeypatch.setattr(Path, "home", lambda: tmp_path)
        named = tmp_path / "mine.tfrc"
        for file, variables in (
            (named, {"TF_CLI_CONFIG_FILE": str(named)}),
            (named, {"TERRAFORM_CONFIG": str(named)}),
            (tmp_path / ".terraformrc", {}),
        ):
            file.write_text(text, encoding="utf-8")

            expected = ProviderSource(None, file) if taken else ProviderSource(tmp_path / "usual")
            assert find_provider(variables) == expected
            file.unlink()

    def test_a_persons_own_configuration_is_used_as_it_is(self, tmp_path: Path, fake_terraform: FakeTerraform) -> None:
        file = tmp_path / "mine.tfrc"
        file.write_text('provider_installation {\n  direct {}\n}\ncredentials "x" {\n  token = "t"\n}\n')
        base = fake_terraform(
            f"""echo "$TF_CLI_CONFIG_FILE" >"{tmp_path}/asked"
            mkdir -p "$TF_PLUGIN_CACHE_DIR/registry.terraform.io/hashicorp/aws/5.100.0/linux_amd64" """
        )

        variables = ProviderSource(None, file).environment(tmp_path / "build", base)

        assert variables["TF_CLI_CONFIG_FILE"] == str(file)
        assert (tmp_path / "asked").read_text().strip() == str(file)
        # `terraform providers lock` asks the registry, whatever the configuration says.
        assert variables["CDKTF_SKIP_PROVIDER_LOCK"] == "true"
        cached = Path(variables["TF_PLUGIN_CACHE_DIR"], "registry.terraform.io", "hashicorp", "aws", "5.100.0")
        assert (cached / "linux_amd64").is_dir()
        # A token stays where it was.
        assert not [each for each in (tmp_path / "build").rglob("*") if each.is_file() and each.read_text()]

    def test_what_is_written_here_is_nobodys_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(terraform, "_usual_folders", lambda: iter([mirror(tmp_path / "usual")]))
        variables = find_provider({}).environment(tmp_path / "build", {})

        assert find_provider(variables).mirror == tmp_path / "usual"

    def test_arguments_from_the_environment_do_not_reach_terraform(self, fake_terraform: FakeTerraform) -> None:
        variables = fake_terraform(
            """test -z "$TF_CLI_ARGS" && echo '{"terraform_version": "1.11.4"}' || echo "no such flag" """
        )

        assert require_terraform({**variables, "TF_CLI_ARGS": "-no-such-flag"}) == "1.11.4"

    def test_a_mirror_is_written_into_a_configuration_and_the_registry_left_alone(self, tmp_path: Path) -> None:
        variables = ProviderSource(Path("/somewhere/my mirror")).environment(tmp_path / "build")

        written = Path(variables["TF_CLI_CONFIG_FILE"]).read_text(encoding="utf-8")
        assert 'filesystem_mirror {\n    path = "/somewhere/my mirror"' in written
        assert variables["CDKTF_SKIP_PROVIDER_LOCK"] == "true"

    def test_the_configuration_is_replaced_whole_and_only_when_it_changes(self, tmp_path: Path) -> None:
        file = Path(ProviderSource(Path("/one")).environment(tmp_path)["TF_CLI_CONFIG_FILE"])
        first = file.stat().st_ino
        with file.open(encoding="utf-8") as reader:  # a Terraform that is just reading it
            ProviderSource(Path("/one")).environment(tmp_path)
            assert file.stat().st_ino == first

            ProviderSource(Path("/two")).environment(tmp_path)
            assert '"/one"' in reader.read()
        assert '"/two"' in file.read_text(encoding="utf-8")
        assert list(tmp_path.iterdir()) == [file]

    def test_the_cache_is_filled_once_however_many_ask_at_once(
        self, tmp_path: Path, fake_terraform: FakeTerraform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`terraform init` with a cache, for as long as that takes: it must not run twice into the same folder."""
        variables = fake_terraform(
            f"""echo "$@" >>"{tmp_path}/calls"
            cache=$(sed -n 's/^plugin_cache_dir = "\\(.*\\)"/\\1/p' "$TF_CLI_CONFIG_FILE")
            mkdir -p "$cache/registry.terraform.io/hashicorp/aws/5.100.0/linux_amd64"
            cp main.tf.json "{tmp_path}/asked" """
        )
        monkeypatch.setenv("PATH", variables["PATH"])
        build = tmp_path / "build"

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: ProviderSource(None).environment(build), range(8)))

        assert (tmp_path / "calls").read_text().splitlines() == ["init -input=false -no-color"]
        assert json.loads((tmp_path / "asked").read_text())["terraform"]["required_providers"]["aws"] == {
            "source": "hashicorp/aws",
            "version": "5.100.0",
        }
        cached = build / "terraform-plugins" / "registry.terraform.io" / "hashicorp" / "aws" / "5.100.0"
        assert (cached / "linux_amd64").is_dir()
        left = {"terraform.rc", "terraform-plugins", "terraform-plugins.lock"}
        assert {each.name for each in build.iterdir()} == left

    def test_a_cache_that_cannot_be_filled_is_left_to_the_deploy(
        self, tmp_path: Path, fake_terraform: FakeTerraform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", fake_terraform("echo no network >&2; exit 1")["PATH"])

        variables = ProviderSource(None).environment(tmp_path / "build")

        assert Path(variables["TF_CLI_CONFIG_FILE"]).is_file()
        assert list((tmp_path / "build" / "terraform-plugins").iterdir()) == []

    def test_from_the_registry_the_stacks_share_one_copy(
        self, tmp_path: Path, fake_terraform: FakeTerraform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", fake_terraform("exit 1")["PATH"])
        variables = ProviderSource(None).environment(tmp_path / "build")

        written = Path(variables["TF_CLI_CONFIG_FILE"]).read_text(encoding="utf-8")
        assert f'plugin_cache_dir = "{tmp_path}/build/terraform-plugins"' in written
        assert (tmp_path / "build" / "terraform-plugins").is_dir()
        assert "CDKTF_SKIP_PROVIDER_LOCK" not in variables


def test_the_projects_programs_come_first_on_the_path(tmp_path: Path) -> None:
    variables = environment.commands(build=tmp_path)

    for program, folder in (("python", ".venv/bin"), ("node", ".venv/bin"), ("cdktf", "node_modules/.bin")):
        found = subprocess.run(["sh", "-c", f"command -v {program}"], env=variables, capture_output=True, text=True)
        assert found.stdout.strip() == str(environment.ROOT / folder / program)
