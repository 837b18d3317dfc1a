"""The lazy import of the provider: the same result as the plain one, and never silently off."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from constructs_lib import lazy_provider
from tests.unit.synthesis import MINIMAL

ROOT = Path(__file__).resolve().parents[2]

SYNTHESIZE = """
import sys
import constructs_lib
from cdktf import App
from modules_equiv.app import add_stacks
from modules_equiv.settings import load_settings
app = App(outdir=sys.argv[1])
add_stacks(app, load_settings())
app.synth()
from constructs_lib import lazy_provider
import cdktf_cdktf_provider_aws
print(lazy_provider.is_lazy(), len([name for name in sys.modules if name.startswith("cdktf_cdktf_provider_aws.")]))
"""


def python(program: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ML_INFRA_")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments],
        cwd=ROOT,
        env=environment | MINIMAL | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_this_run_is_lazy() -> None:
    assert lazy_provider.is_lazy()
    assert "--require" in os.environ["NODE_OPTIONS"]


@pytest.mark.system
def test_json_is_identical_to_the_plain_imports(tmp_path: Path) -> None:
    lazy = python(SYNTHESIZE, str(tmp_path / "lazy"))
    plain = python(SYNTHESIZE, str(tmp_path / "plain"), **{lazy_provider.DISABLE: "1"})

    assert (lazy.returncode, plain.returncode) == (0, 0), lazy.stderr + plain.stderr
    state, imported = lazy.stdout.split()
    assert state == "True"
    assert int(imported) < 100
    state, imported = plain.stdout.split()
    assert state == "False"
    assert int(imported) > 2000
    files = sorted(file.relative_to(tmp_path / "lazy") for file in (tmp_path / "lazy").rglob("*.json"))
    assert len([file for file in files if file.name == "cdk.tf.json"]) == 4
    for file in files:
        assert (tmp_path / "lazy" / file).read_bytes() == (tmp_path / "plain" / file).read_bytes(), file


def test_the_node_side_is_lazy_too(tmp_path: Path) -> None:
    package = tmp_path / "a folder" / "node_modules" / "@cdktf" / "provider-aws"
    (package / "lib").mkdir(parents=True)
    (package / "package.json").write_text('{"main": "lib/index.js"}')
    (package / "lib" / "index.js").write_text("module.exports = 'plain'")
    (package / "lib" / "lazy-index.js").write_text("module.exports = 'lazy'")
    other = tmp_path / "a folder" / "node_modules" / "other" / "lib"
    other.mkdir(parents=True)
    (other / "index.js").write_text("module.exports = 'plain'")
    (other / "lazy-index.js").write_text("module.exports = 'lazy'")
    command = [os.environ["JSII_NODE"], "-p", "require('@cdktf/provider-aws') + ' ' + require('other/lib/index.js')"]

    answer = subprocess.run(command, cwd=tmp_path / "a folder", capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "lazy plain"
    (package / "lib" / "lazy-index.js").unlink()
    answer = subprocess.run(command, cwd=tmp_path / "a folder", capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "plain plain"


def test_coming_too_late_is_said() -> None:
    late = python("import cdktf\nimport constructs_lib")

    assert late.returncode == 1
    assert "LateInstallWarning" in late.stderr
    assert "Import constructs_lib first" in late.stderr


def test_without_jsiis_table_the_plain_import_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy_provider, "_jsii_submodule_map", lambda: None)
    finder = next(finder for finder in sys.meta_path if isinstance(finder, lazy_provider._ProviderFinder))

    spec = finder.find_spec(lazy_provider.PROVIDER, None)

    assert spec is not None
    assert not isinstance(spec.loader, lazy_provider._ProviderLoader)


@pytest.mark.system
def test_every_type_of_the_assembly_is_in_the_table() -> None:
    """What Node may send back must be importable: jsii's own list of submodules is the measure."""
    program = """
import gzip, io, json, tarfile, importlib.resources
import constructs_lib, cdktf_cdktf_provider_aws
from jsii import _reference_map
name = next(f for f in importlib.resources.files("cdktf_cdktf_provider_aws._jsii").iterdir() if f.name.endswith(".tgz"))
with tarfile.open(fileobj=io.BytesIO(name.read_bytes())) as archive:
    member = next(m for m in archive.getmembers() if m.name in ("package/.jsii", "package/.jsii.gz"))
    raw = archive.extractfile(member).read()
    assembly = json.loads(gzip.decompress(raw) if raw[:2] == b"\\x1f\\x8b" else raw)
    if assembly.get("schema") == "jsii/file-redirect":
        raw = archive.extractfile("package/" + assembly["filename"]).read()
        assembly = json.loads(gzip.decompress(raw) if assembly.get("compression") == "gzip" else raw)
table = _reference_map._submodule_fqn_map
print(json.dumps([sorted(assembly["submodules"]), sorted(n for n in assembly["submodules"] if n not in table)]))
"""
    answer = python(program)

    assert answer.returncode == 0, answer.stderr
    submodules, missing = json.loads(answer.stdout)
    assert len(submodules) > 2000
    assert missing == []


def test_what_needs_no_jsii_leaves_nodes_options_alone() -> None:
    answer = python("import os, modules_equiv.settings\nprint(repr(os.environ['NODE_OPTIONS']))", NODE_OPTIONS="")

    assert answer.stdout.strip() == "''", answer.stderr
