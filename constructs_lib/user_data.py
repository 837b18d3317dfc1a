"""Render user data: a small program that writes the shipped files to the machine and runs the main one."""

import ast
import base64
import bz2
import io
import re
import tokenize
from collections.abc import Mapping, Sequence
from pathlib import Path

from constructs_lib.terraform_text import REFERENCE, literal

# EC2: 16 KB before base64. https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html
USER_DATA_LIMIT = 16384

# Shell functions: the library of every main script, disks (find, format, mount), and swap.
LIBRARY = Path(__file__).with_name("boot") / "lib.sh"
DISKS = Path(__file__).with_name("boot") / "disks.sh"
MEMORY = Path(__file__).with_name("boot") / "memory.sh"

ENV_FILE = "/etc/ml-infra/boot.env"
FOLDER = "/usr/local/lib/ml-infra"

_END_OF_FILES = "END_OF_FILES"
_END_OF_VALUES = "END_OF_VALUES"
# The name under which the known values are shipped with the files.
VALUES = "boot.env"
_COLUMNS = 2000
_HERE_DOCUMENT = re.compile(r"(?<!<)<<(?!<)-?\s*(['\"]?)(\w+)\1")
# Base 85 takes 6 % less than base 64. Of its characters, $ and % begin markers of Terraform: others stand for them. No
# quotes and backslashes, since it may have to be quoted.
_STAND_INS = ("$%", ",.")
# Every image has Python (cloud-init is written in it), but not bzip2.
# Files are replaced by renaming: a running script continues to read its own file, and a power cut leaves either the old
# or the new file.
PLACE_FILES = """\
for name, text in zip(parts[::2], parts[1::2]):
    with open("new", "w") as file: file.write(text)
    os.chmod("new", 0o755 if name.endswith(".sh") else 0o644)
    os.rename("new", name)
"""
_UNPACK = (
    """\
import base64, bz2, os, sys
os.chdir(sys.argv[1])
text = sys.stdin.read().replace("\\n", "").replace(",", "$").replace(".", "%")
parts = bz2.decompress(base64.b85decode(text)).decode().split("\\0")
"""
    + PLACE_FILES
)


class UserDataError(ValueError):
    """Report user data that is too large, or a value or file that the format cannot hold."""


def render(*, values: Mapping[str, str], files: Sequence[Path], main: str, limit: int = USER_DATA_LIMIT) -> str:
    """Return user data for Terraform, with template markers escaped and the tokens in `values` for Terraform to fill.

    values: shell variable -> value, written to /etc/ml-infra/boot.env. No white space, quotes, `$`, backquotes or
    backslashes.
    files: written to /usr/local/lib/ml-infra under their own names, in the form of `shipped`. `main` is run as root.
    limit: bytes, without encoding.
    Raises UserDataError.
    """
    check(values, files, main)
    # Known values are compressed too.
    known = {key: value for key, value in values.items() if not REFERENCE.search(value)}
    packed = archive(files, known)
    text = "\n".join(
        [
            "#!/bin/bash",
            "set -euo pipefail",
            f"install -d -m 0755 {FOLDER} {Path(ENV_FILE).parent}",
            f"cat >{ENV_FILE}.new <<'{_END_OF_VALUES}'",
            *(f"{key}={value}" for key, value in values.items() if key not in known),
            _END_OF_VALUES,
            f"python3 -c '{_UNPACK}' {FOLDER} <<'{_END_OF_FILES}'",
            *(packed[start : start + _COLUMNS] for start in range(0, len(packed), _COLUMNS)),
            _END_OF_FILES,
            f"cat {FOLDER}/{VALUES} >>{ENV_FILE}.new",
            f"rm {FOLDER}/{VALUES}",
            f"mv {ENV_FILE}.new {ENV_FILE}",
            f"exec {FOLDER}/{main}",
            "",
        ]
    )
    size = len(REFERENCE.sub("x" * 64, text).encode())
    if size > limit:
        raise too_large(main, size, limit, files)
    # Tokens are Terraform's to fill; everything else is the machine's.
    pieces = REFERENCE.split(text)
    tokens = [*REFERENCE.findall(text), ""]
    return "".join(literal(piece) + token for piece, token in zip(pieces, tokens, strict=True))


def check(values: Mapping[str, str], files: Sequence[Path], main: str) -> None:
    """Raise UserDataError if `main` is not among the files, or boot.env cannot hold a value."""
    if main not in [file.name for file in files]:
        raise UserDataError(f"{main} is to be run but is not among the files: {', '.join(file.name for file in files)}")
    for key, value in values.items():
        if re.search(r"[\s'\"$`\\]", REFERENCE.sub("", value)):
            raise UserDataError(
                f"{key}={value!r} cannot go into {ENV_FILE}: white space, quotes, $ and \\ are not allowed"
            )


def too_large(main: str, size: int, limit: int, files: Sequence[Path]) -> UserDataError:
    """Return the error for user data of this size."""
    return UserDataError(
        f"the user data with {main} has {size} bytes; the limit is {limit}: shorten one of "
        + ", ".join(f"{file.name} ({file.stat().st_size})" for file in files)
    )


def shipped(file: Path) -> str:
    """Return a file as the machine gets it: comments and docstrings become empty lines, shell scripts lose indentation.

    Line numbers in a machine's messages are those of the file. Raises UserDataError for a file that is not text, or
    does not end with a newline.
    """
    # A checkout may have turned the line ends into others.
    content = file.read_bytes().replace(b"\r\n", b"\n")
    if not content.endswith(b"\n") or b"\0" in content:
        raise UserDataError(f"{file}: must be text and end with a newline")
    text = content.decode()
    without = {".sh": _without_comments, ".py": _without_docstrings}.get(file.suffix)
    return without(text) if without else text


def _without_docstrings(program: str) -> str:
    lines = program.split("\n")
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            first, *rest = node.body
            assert rest, f"line {first.lineno} is all that there is"
            lines[first.lineno - 1 : first.end_lineno] = [""] * ((first.end_lineno or 0) - first.lineno + 1)
    for token in tokenize.generate_tokens(io.StringIO("\n".join(lines)).readline):
        if token.type == tokenize.COMMENT:
            line = token.start[0] - 1
            lines[line] = lines[line][: token.start[1]].rstrip()
    return "\n".join(lines)


def _without_comments(script: str) -> str:
    lines, end = [], ""
    for line in script.split("\n"):
        if end:
            end = "" if line == end else end
        elif line.lstrip().startswith("#") and not line.startswith("#!"):
            line = ""
        else:
            line = line.lstrip(" ")
            found = _HERE_DOCUMENT.search(line)
            end = found[2] if found else ""
        lines.append(line)
    return "\n".join(lines)


def archive(files: Sequence[Path], values: Mapping[str, str]) -> str:
    """Return the output of `compressed` in base 85."""
    return base64.b85encode(compressed(files, values)).decode().translate(str.maketrans(*_STAND_INS))


def compressed(files: Sequence[Path], values: Mapping[str, str]) -> bytes:
    """Return the files, followed by the values, compressed with bzip2 into the same bytes on every machine.

    Changed user data replaces the machine, so the bytes must not vary. bzip2 has written the same bytes since 2000,
    whereas deflate's depend on Python's zlib, and LZMA's on the version of liblzma. No tar: its headers take 2 % of the
    space. Raises UserDataError as `shipped` does.
    """
    texts = {file.name: shipped(file) for file in files}
    texts[VALUES] = "".join(f"{key}={value}\n" for key, value in values.items())
    # No text holds a NUL: `shipped` sees to that.
    return bz2.compress("\0".join(part for text in texts.items() for part in text).encode())


def unpacked(user_data: str) -> dict[str, str]:
    """Return the files in rendered user data by name, as the machine will find them in FOLDER.

    Raises UserDataError if there are none.
    """
    return {name: text for name, text in _texts(user_data).items() if name != VALUES}


def values(user_data: str) -> dict[str, str]:
    """Return the values in rendered user data by shell variable; those from Terraform are still references.

    Raises UserDataError if there are no files.
    """
    later = user_data.partition(f"<<'{_END_OF_VALUES}'\n")[2].partition(f"{_END_OF_VALUES}\n")[0]
    lines = (_texts(user_data)[VALUES] + later).splitlines()
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


def _texts(user_data: str) -> dict[str, str]:
    _, begin, rest = user_data.partition(f"<<'{_END_OF_FILES}'")
    if not begin:
        raise UserDataError("this is not user data that was rendered here: it carries no files")
    encoded = rest.partition("\n")[2].partition(f"\n{_END_OF_FILES}\n")[0]
    plain = encoded.replace("\n", "").translate(str.maketrans(*reversed(_STAND_INS)))
    parts = bz2.decompress(base64.b85decode(plain)).decode().split("\0")
    return dict(zip(parts[::2], parts[1::2], strict=True))
