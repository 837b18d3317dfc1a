"""Whatever the settings file and the environment hold: settings, or problems that a terminal can show. Never a
traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from constructs_lib.refused import printable, printable_lines
from constructs_lib.toml_text import TomlError, parsed
from modules_equiv.settings import Settings, SettingsError, load_settings
from ops.account.settings_file import settings_path

ROOT = Path(__file__).resolve().parents[2]
REQUIRED = """
[access]
deployer_cidrs = ["203.0.113.7/32"]
ssh_keypair_name = "my-key"
[state]
bucket = "my-terraform-state"
"""
RIGHT_TO_LEFT = "\N{RIGHT-TO-LEFT OVERRIDE}"
FUZZ = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

KEYS = [
    "deployment.name",
    "deployment.max_hourly_usd",
    "access.deployer_cidrs",
    "access.ssh_keypair_name",
    "state.prefix",
    "state.use_path_style",
    "mlcore.az",
    "mlcore.vpc_cidr",
    "stats_monitor.grafana_image",
    "stats_monitor.root_volume.size_gb",
    "train_model.instance_type",
    "train_model.training_repository",
    "train_model.training_revision",
    "train_model.data_s3_uri",
    "train_model.data_volume",
    "train_model.data_volume.iops",
    "train_model_dev.volume_size_gb",
]
# Pieces that parsers, shells and terminals take for more than text, beside what is nearly right.
PIECES = st.sampled_from(
    [
        *"[]{}\"'=.,#\\\n\r\t-+_/:@$% ",
        '"""',
        "'''",
        "[[",
        "]]",
        "0x",
        "1e",
        "inf",
        "nan",
        "true",
        "1979-05-27T07:32:00Z",
        "9" * 4301,
        "[" * 500,
        "{a=" * 200,
        "a." * 300,
        "\x1b[2J",
        RIGHT_TO_LEFT,
        "\N{ZERO WIDTH SPACE}",
        "\N{BYTE ORDER MARK}",
        "\x00",
        "203.0.113.7/32",
        "s3://my-bucket/x",
        "https://a:b@example.com/x",
        "ml-core",
        "us-east-1a",
        "g6.12xlarge",
        "state",
        "bucket",
    ]
)
TEXTS = st.lists(PIECES | st.text(max_size=5), max_size=12).map("".join)
# As os.environ has what was no UTF-8.
BYTES = st.binary(max_size=20).map(lambda raw: raw.replace(b"\0", b"").decode("utf-8", "surrogateescape"))


def outcome(file: Path | None, environ: dict[str, str]) -> Settings | SettingsError:
    try:
        return load_settings(file, environ)
    except SettingsError as error:
        refused = error
    assert refused.problems
    for line in str(refused).split("\n"):
        assert line.isprintable(), repr(line)
    return refused


@FUZZ
@given(content=st.binary(max_size=200) | TEXTS.map(lambda text: text.encode("utf-8", "replace")))
@example(content=b"a = " + b"9" * 5000)
@example(content=b"a = 0x" + b"f" * 5000)
@example(content=b"a = " + b"[" * 2000)
@example(content=b"a = " + b"[" * 100 + b"]" * 100)
@example(content=b"a." * 5000 + b"a = 1")
@example(content=b"[a]\n" * 2 + b"\x1b]0;title\x07")
def test_any_file(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "settings.toml"
    file.write_bytes(content)
    outcome(file, {})


@FUZZ
@given(key=st.sampled_from(KEYS), value=TEXTS)
@example(key="access.ssh_keypair_name", value=f'"a{RIGHT_TO_LEFT}b"')
@example(key="train_model.data_volume.iops", value="0x" + "f" * 4000)
@example(key="deployment.max_hourly_usd", value="1e308")
def test_any_value_of_a_key(tmp_path: Path, key: str, value: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(f"{REQUIRED}\n[{key.rpartition('.')[0]}]\n{key.rpartition('.')[2]} = {value}\n", "utf-8", "replace")
    outcome(file, {})
    file.write_text(f"{key} = {value}\n", "utf-8", "replace")
    outcome(file, {})


VARIABLES = st.sampled_from(["ML_INFRA_" + key.replace(".", "__").upper() for key in KEYS] + ["ML_INFRA_SETTINGS"])


@FUZZ
@given(environ=st.dictionaries(VARIABLES | BYTES.map(lambda name: f"ML_INFRA_{name}"), TEXTS | BYTES, max_size=4))
@example(environ={"ML_INFRA_TRAIN_MODEL__AMI": "ami\udcff"})
@example(environ={"ML_INFRA_ACCESS__DEPLOYER_CIDRS": "[" * 2000})
@example(environ={"ML_INFRA_TRAIN_MODEL__DATA_VOLUME__SIZE_GB": "9" * 5000})
@example(environ={"ML_INFRA_SETTINGS": "~nouser/x.toml"})
@example(environ={"ML_INFRA_SETTINGS": "x" * 5000})
@example(environ={"ML_INFRA_SETTINGS": "x\udcff\x1b[2J"})
def test_any_environment(environ: dict[str, str]) -> None:
    outcome(None, environ)


# --- what a person reads then


def reason(content: str | bytes, tmp_path: Path) -> tuple[str, str | None]:
    file = tmp_path / "settings.toml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(SettingsError) as refused:
        load_settings(file, {})
    (problem,) = refused.value.problems
    return problem.reason, problem.value


def test_what_tomllib_has_no_error_for(tmp_path: Path) -> None:
    digits, value = reason(f"[train_model]\nx = {'9' * 5000}", tmp_path)
    assert digits == "A number has too many digits."
    assert value is not None
    assert value.startswith("line 2: x = 999")
    assert len(value) == 200
    deep = "Lists or tables are nested more than 20 levels deep."
    assert reason(f"x = {'[' * 2000}", tmp_path) == (deep, None)
    assert reason(f"x = {'[' * 50}{']' * 50}", tmp_path) == (deep, None)
    assert reason("x = 0x" + "f" * 5000, tmp_path) == ("A number does not fit into 64 bits, TOML's limit.", None)
    assert (
        reason(b"#" * 1_000_001, tmp_path)[0]
        == "The file is larger than 1,000,000 bytes, so it is not a settings file."
    )


def test_a_device_without_an_end_is_not_read_to_its_end() -> None:
    with pytest.raises(SettingsError, match="larger than 1,000,000 bytes"):
        load_settings(Path("/dev/zero"), {})


def test_a_home_folder_that_is_nobodys(tmp_path: Path) -> None:
    for read in (lambda environ: load_settings(None, environ), settings_path):
        with pytest.raises(SettingsError) as refused:
            read({"ML_INFRA_SETTINGS": "~nouser/x.toml"})
        (problem,) = refused.value.problems
        assert (problem.source, problem.value) == ("the environment variable ML_INFRA_SETTINGS", '"~nouser/x.toml"')
        assert problem.reason == "~nouser is not the home folder of a user on this machine."


def test_nothing_of_the_file_reaches_the_terminal_as_it_is(tmp_path: Path) -> None:
    """Escape sequences in keys, values, lines that are no TOML, and in the file's own name."""
    file = tmp_path / f"a\x1b[31m{RIGHT_TO_LEFT}.toml"
    for content in (
        f'"\\u001b[2J{RIGHT_TO_LEFT}" = 1',
        f'[state]\nbucket = "\\u001b[2J{RIGHT_TO_LEFT}"',
        f"[state]\nbucket = {RIGHT_TO_LEFT}",
    ):
        file.write_text(content, encoding="utf-8")
        error = outcome(file, {})
        assert isinstance(error, SettingsError)
        assert "\\u202e" in str(error)
        assert "a\\u001b[31m\\u202e.toml" in str(error)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 日本", "plain é 日本"),
        ("\x1b[2J", "\\u001b[2J"),
        (f"a{RIGHT_TO_LEFT}b", "a\\u202eb"),
        ("\N{LEFT-TO-RIGHT ISOLATE}", "\\u2066"),
        ("\N{LANGUAGE TAG}", "\\U000e0001"),
        ("\N{NO-BREAK SPACE}", "\\u00a0"),
        ("a\r\n\tb", "a\\r\\n\\tb"),
        ("\x9b", "\\u009b"),
        ("ami\udcff", "ami\\xff"),
        ("\ud800", "\\ud800"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_lines_stay_lines() -> None:
    assert printable_lines("a\tb\n\x1b[2J\n") == "a       b\n\\u001b[2J\n"


def test_a_table_that_is_fine() -> None:
    assert parsed("a = [[1]]\nb = -9223372036854775808\nc = 9223372036854775807") == {
        "a": [[1]],
        "b": -(2**63),
        "c": 2**63 - 1,
    }
    with pytest.raises(TomlError) as refused:
        parsed("a = 1\nb = ")
    assert refused.value.line == 2


def test_the_program_ends_without_a_traceback() -> None:
    """A whole process: what is printed has to be encoded, too."""
    answer = subprocess.run(
        [sys.executable, "main.py"],
        cwd=ROOT,
        env={**os.environ, "ML_INFRA_TRAIN_MODEL__AMI": "ami\udcff", "ML_INFRA_SETTINGS": "/dev/null"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 1
    assert '"ami\\xff"' in answer.stderr
    assert "Traceback" not in answer.stderr
