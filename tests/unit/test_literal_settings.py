"""No text of the settings is read as code on its way into a stack: every key of the model is tried, new ones too."""

import json
import os
import re
import subprocess
import types
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from cdktf import Testing

from constructs_lib.settings_model import SettingsModel
from modules_equiv.app import add_stacks
from modules_equiv.settings import Settings, SettingsError, load_settings

REQUIRED: dict[str, dict[str, object]] = {
    "access": {"deployer_cidrs": ["203.0.113.7/32"], "ssh_keypair_name": "my-key"},
    "state": {"bucket": "my-terraform-state"},
}
CODE = [
    '${file("/etc/hostname")}',
    "%{ if true }x%{ endif }",
    "%{~ for x in [1] ~}",
    "${TfToken[TOKEN.0]}",
    "#{TfToken[TOKEN.0]}",
    "&{TfToken[TOKEN.0]}",
    "$${x}",
    'x\\" injected = "',
    "\\u0024{x}",
    "a\nb",
    "a\x1b[2Jb",
    "a\N{RIGHT-TO-LEFT OVERRIDE}b",
    "a\N{ZERO WIDTH SPACE}b",
]
# What some key may hold, and what must then arrive as it is.
ODD = """a "q" 'q' `id` $HOME $(id) $$ 100% %% {x} #{y} &{z} <b> // /* # ; | ~ $"""

Keys = tuple[str, ...]


def texts(model: type[SettingsModel] = Settings, above: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Every key that can hold text, with its type. A type that is not known here is an error: teach it to `hostile`."""
    for name, field in model.model_fields.items():
        kind: Any = field.annotation
        if isinstance(kind, type) and issubclass(kind, SettingsModel):
            yield from texts(kind, (*above, name))
        elif any(True for _ in hostile(kind, "")):
            yield (*above, name), kind


def hostile(kind: Any, text: str) -> Iterator[object]:
    """Every value of this type that has the text somewhere in it; none for types that hold no text."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is str:
        yield text
    elif origin is Annotated:
        yield from hostile(arguments[0], text)
    elif origin in (types.UnionType, Union):
        for argument in arguments:
            yield from hostile(argument, text)
    elif origin in (tuple, list, frozenset, set):
        for value in hostile(arguments[0], text):
            yield [value]
    elif origin is dict:
        for key in hostile(arguments[0], text):
            yield {key: "value"}
        for value in hostile(arguments[1], text):
            yield {"key": value}
    else:
        assert kind in (bool, int, Decimal, type(None)) or origin is Literal, f"{kind} is new"


TEXTS = dict(texts())


def load(tmp_path: Path, keys: Keys, value: object) -> Settings:
    """The settings with one key of this value, in a file."""
    tables = json.loads(json.dumps(REQUIRED))
    table = tables
    for key in keys[:-1]:
        table = table.setdefault(key, {})
    table[keys[-1]] = value
    lines = []
    for path, content in (([s], tables[s]) for s in tables):
        lines += toml(path, content)
    file = tmp_path / "settings.toml"
    file.write_text("\n".join(lines), encoding="utf-8")
    return load_settings(file, {})


def toml(path: list[str], table: dict[str, Any]) -> list[str]:
    lines = [f"[{'.'.join(path)}]"]
    tables = {key: value for key, value in table.items() if isinstance(value, dict)}
    lines += [f"{key} = {json.dumps(value)}" for key, value in table.items() if key not in tables]
    return [*lines, *(line for key, value in tables.items() for line in toml([*path, key], value))]


def test_the_keys_with_text_are_all_found() -> None:
    assert {
        ("deployment", "name"),
        ("deployment", "project"),
        ("access", "deployer_cidrs"),
        ("access", "ssh_keypair_name"),
        ("state", "prefix"),
        ("mlcore", "az"),
        ("stats_monitor", "grafana_image"),
        ("train_model", "output_s3_uri"),
        ("train_model", "data_volume", "restore"),
        ("train_model_dev", "code_repository"),
    } <= set(TEXTS)
    assert ("deployment", "max_hourly_usd") not in TEXTS
    assert ("mlcore", "allow_efs_destroy") not in TEXTS


@pytest.mark.parametrize("keys", TEXTS, ids=".".join)
def test_what_would_be_code_is_refused(tmp_path: Path, keys: Keys) -> None:
    for code in CODE:
        for text in (code, f"x{code}", f"my-{code}.x"):
            for value in hostile(TEXTS[keys], text):
                with pytest.raises(SettingsError) as refused:
                    load(tmp_path, keys, value)
                assert [problem.key for problem in refused.value.problems] == [".".join(keys)], text
                assert str(refused.value).replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('${file("/etc/hostname")}', "contains ${, which Terraform would evaluate as code"),
        ("%{ if true }x%{ endif }", "contains %{, which Terraform would evaluate as code"),
        ("#{TfToken[TOKEN.0]}", "contains TfToken[, which cdktf reserves"),
        ("a\\b", "contains \\, which Terraform would read as an escape"),
        ("a\N{RIGHT-TO-LEFT OVERRIDE}b", "unprintable characters: \\u202e"),
        ("x" * 1025, "1,025 characters; the maximum is 1,024"),
    ],
)
def test_the_reason_is_said(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, ("access", "ssh_keypair_name"), text)
    (problem,) = refused.value.problems
    assert reason in problem.reason


# --- as Terraform itself reads it


def evaluated(folder: Path, name: str, configuration: str) -> object:
    """What Terraform makes of `local.x`."""
    folder.mkdir()
    (folder / name).write_text(configuration, encoding="utf-8")
    answer = subprocess.run(
        ["terraform", "console"],
        cwd=folder,
        input="jsonencode(local.x)\n",
        env={key: value for key, value in os.environ.items() if not key.startswith("TF_")},
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(json.loads(answer.stdout))


def test_terraform_runs_what_no_key_may_hold(tmp_path: Path) -> None:
    """Without this the tests below would prove nothing."""
    (tmp_path / "secret").write_text("content", encoding="utf-8")
    code = f'${{file("{tmp_path}/secret")}}'
    assert evaluated(tmp_path / "x", "x.tf.json", json.dumps({"locals": {"x": code}})) == "content"


def odd_keys(tmp_path: Path) -> dict[Keys, Settings]:
    """Every key that accepts ODD, with settings in which it does."""
    accepted = {}
    for keys, kind in TEXTS.items():
        for value in hostile(kind, ODD):
            try:
                accepted[keys] = load(tmp_path, keys, value)
            except SettingsError:
                continue
    return accepted


def test_what_is_accepted_arrives_as_it_is(tmp_path: Path) -> None:
    accepted = odd_keys(tmp_path)
    assert ("access", "ssh_keypair_name") in accepted
    for keys, settings in accepted.items():
        for stack in add_stacks(Testing.app(), settings).values():
            found = [value for value in strings(json.loads(Testing.synth(stack))) if "HOME $(id)" in value]
            for number, written in enumerate(found):
                folder = tmp_path / f"{'-'.join(keys)}-{stack.node.id}-{number}"
                assert ODD in str(evaluated(folder, "x.tf.json", json.dumps({"locals": {"x": written}})))


def test_the_key_pair_arrives_as_it_is_in_json_and_in_hcl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(tmp_path, ("access", "ssh_keypair_name"), ODD)
    written = json.loads(Testing.synth(add_stacks(Testing.app(), settings)["mlcore"]))
    key_name = written["resource"]["aws_instance"]["jump"]["key_name"]
    assert evaluated(tmp_path / "json", "x.tf.json", json.dumps({"locals": {"x": key_name}})) == ODD

    monkeypatch.setenv("SYNTH_HCL_OUTPUT", "true")
    hcl = Testing.synth_hcl(add_stacks(Testing.app(), settings)["mlcore"])
    found = re.search(r"^ *key_name *= *(.*)$", hcl, re.MULTILINE)
    assert found is not None
    assert evaluated(tmp_path / "hcl", "x.tf", f"locals {{\n  x = {found[1]}\n}}\n") == ODD


def strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from strings([*value, *value.values()])
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
