"""Imports run downward only: from what a person calls to what everything is made of."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Package -> what it may import besides itself. The longest name that fits counts.
ALLOWED: dict[str, set[str]] = {
    "constructs_lib": set(),
    "modules_equiv": {"constructs_lib"},
    "main": {"constructs_lib", "modules_equiv"},
    "ops.core": {"constructs_lib", "modules_equiv.settings"},
    "ops.account": {"constructs_lib", "modules_equiv.settings", "ops.core"},
    "ops.cost": {"constructs_lib", "modules_equiv.settings", "ops.core"},
    "ops.deployment": {"constructs_lib", "modules_equiv.settings", "ops.core"},
    "ops.remote": {"constructs_lib", "ops.core", "ops.account", "ops.deployment"},
    "ops.doctor": {
        "constructs_lib",
        "modules_equiv.settings",
        "ops.core",
        "ops.account",
        "ops.deployment",
        "ops.remote",
    },
    "ops.commands": {
        "constructs_lib",
        "modules_equiv.settings",
        "ops.core",
        "ops.account",
        "ops.cost",
        "ops.deployment",
        "ops.remote",
        "ops.doctor",
    },
    "ops.cli": {"constructs_lib", "modules_equiv.settings", "ops.core", "ops.commands"},
    "ops.__main__": {"ops.cli"},
    "embedded_aws": {"constructs_lib", "ops"},
    "tools": {"constructs_lib", "modules_equiv.settings", "ops", "embedded_aws"},
    "benchmarks": {"constructs_lib", "modules_equiv", "ops", "embedded_aws", "tools", "tests"},
}
OURS = {name.partition(".")[0] for name in ALLOWED} | {"tests"}
MODULES = {"mlcore", "stats_monitor", "train_model", "train_model_dev"}


def within(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def name_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources() -> list[Path]:
    folders = sorted(OURS - {"tests", "main"})
    # Those of a boot folder run on the machines, and import nothing of this project.
    return [ROOT / "main.py", *(file for folder in folders for file in sorted((ROOT / folder).rglob("*.py")))]


def imported(file: Path) -> Iterator[str]:
    """The names of this project's modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute here"
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in found if name.partition(".")[0] in OURS)


def test_every_file_has_a_row() -> None:
    rows = set(ALLOWED)
    assert [name for file in sources() if not within(name := name_of(file), rows) and name != "ops"] == []


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_what_is_below_it(package: str) -> None:
    files = [file for file in sources() if within(name_of(file), {package})]
    wrong = [
        f"{name_of(file)} imports {name}"
        for file in files
        for name in imported(file)
        if not within(name, {package, *ALLOWED[package]})
    ]
    assert files
    assert wrong == []


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_stack_knows_of_others_only_what_they_publish(module: str) -> None:
    others = MODULES - {module}
    wrong = [
        f"{name_of(file)} imports {name}"
        for file in sources()
        if within(name_of(file), {f"modules_equiv.{module}"})
        for name in imported(file)
        if within(name, {f"modules_equiv.{other}" for other in others}) and name.split(".")[2:3] != ["outputs"]
    ]
    assert wrong == []
