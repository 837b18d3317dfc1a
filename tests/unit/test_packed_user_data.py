"""User data of EC2 machines as bytes: what gzip, cloud-init's Python, Terraform and bash make of it."""

import base64
import gzip
import json
import os
import random
import subprocess
from pathlib import Path

import pytest

from constructs_lib.packed_user_data import filled, render, script, unpacked, values
from constructs_lib.user_data import UserDataError

TOKEN = "${TfToken[TOKEN.7]}"


@pytest.fixture
def main(tmp_path: Path) -> Path:
    file = tmp_path / "main.sh"
    file.write_text("#!/bin/bash\necho \"${HOME}\" '$x' `y` \\ %{z}\n", encoding="utf-8")
    return file


def rendered(main: Path, *files: Path, **given: str) -> str:
    """As cdktf writes it, with a variable of Terraform's in the place of the token."""
    return render(values=given, files=[main, *files], main="main.sh").replace(TOKEN, "var.id")


def test_it_runs_as_it_came(main: Path, tmp_path: Path) -> None:
    main.write_text(f"#!/bin/bash\n. {tmp_path}/etc/boot.env\necho \"$KEY $ID 'q' \\\\\" >ran\n", encoding="utf-8")
    data = tmp_path / "data.txt"
    data.write_text('{"a": "${x}\\n"}\n', encoding="utf-8")
    came = filled(rendered(main, data, KEY="value", ID=TOKEN, EMPTY=""), {"var.id": "vol-0123"}.__getitem__)
    raw = tmp_path / "user-data.txt"
    raw.write_bytes(came)

    # What any gzip makes of it, on folders that this test may write.
    program = subprocess.run(["gzip", "-dc", raw], capture_output=True, check=True).stdout.decode()
    assert program == script(came) == gzip.decompress(came).decode()
    program = program.replace("/var/lib/cloud/instance/user-data.txt", str(raw))
    program = program.replace("/usr/local/lib/ml-infra", f"{tmp_path}/lib").replace("/etc/ml-infra", f"{tmp_path}/etc")
    subprocess.run(["bash", "-c", program], cwd=tmp_path, check=True, env={"PATH": os.environ["PATH"]})

    assert (tmp_path / "ran").read_text(encoding="utf-8") == "value vol-0123 'q' \\\n"
    assert (tmp_path / "lib" / "main.sh").read_bytes() == main.read_bytes()
    assert (tmp_path / "lib" / "data.txt").read_bytes() == data.read_bytes()
    assert sorted(file.name for file in (tmp_path / "lib").iterdir()) == ["data.txt", "main.sh"]
    env = (tmp_path / "etc" / "boot.env").read_text(encoding="utf-8")
    assert dict(line.split("=", 1) for line in env.split()) == {"KEY": "value", "ID": "vol-0123", "EMPTY": ""}


def test_terraform_makes_the_same_of_it_whatever_the_length_of_a_value(main: Path, tmp_path: Path) -> None:
    for padding in ("", "x", "xx"):
        main.write_text(f"#!/bin/bash\n: {padding}\n", encoding="utf-8")
        expression = rendered(main, A="1", ID=TOKEN, B=f"{TOKEN}/b")
        for id in ("vol-01234567", "vol-012345678", "vol-0123456789"):
            (tmp_path / "main.tf.json").write_text(
                json.dumps({"variable": {"id": {"default": id}}, "output": {"made": {"value": expression}}}),
                encoding="utf-8",
            )
            asked = subprocess.run(
                ["terraform", "console"],
                input=f"{expression.removeprefix('${').removesuffix('}')}\n",
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=True,
            )
            made = base64.b64decode(json.loads(asked.stdout), validate=True)
            assert made == filled(expression, {"var.id": id}.__getitem__)
            assert values(made) == {"A": "1", "ID": id, "B": f"{id}/b"}


def test_what_is_in_it_can_be_read_before_and_after(main: Path) -> None:
    expression = rendered(main, A="1=2", ID=TOKEN, EMPTY="")
    assert unpacked(expression) == {"main.sh": main.read_text(encoding="utf-8")}
    assert values(expression) == {"A": "1=2", "EMPTY": "", "ID": "${var.id}"}
    came = filled(expression, {"var.id": "x"}.__getitem__)
    assert unpacked(came) == unpacked(expression)
    assert values(came) == {"A": "1=2", "EMPTY": "", "ID": "x"}


def test_nothing_that_terraform_knows_later(main: Path) -> None:
    came = filled(rendered(main, A="1"), str)
    assert values(came) == {"A": "1"}
    # The header of RFC 1952: gzip, deflate, FEXTRA + FNAME + FCOMMENT, no time, unknown system.
    assert came[:10] == bytes.fromhex("1f8b081c00000000" + "00ff")
    assert came[12:14] == b"ml"


def test_too_large_names_the_limit_and_the_files(main: Path) -> None:
    # What cannot be compressed to less than half.
    main.write_text(f"#!/bin/bash\n: {random.Random(1).randbytes(17000).hex()}\n", encoding="utf-8")
    with pytest.raises(UserDataError, match=r"the limit is 16384: .*main\.sh \(34015\)"):
        rendered(main)


@pytest.mark.parametrize("other", ["#!/bin/bash\necho\n", b"\x1f\x8b\x08\x00" + bytes(40)])
def test_what_carries_nothing_is_said_so(other: str | bytes) -> None:
    with pytest.raises(UserDataError, match="no files"):
        unpacked(other)
