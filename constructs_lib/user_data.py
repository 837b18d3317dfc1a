"""User data: a small program that puts shipped files on the machine and starts the main one."""

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

# Shell functions: what every main script sources, what finds, formats and mounts disks, and swap.
LIBRARY = Path(__file__).with_name("boot") / "lib.sh"
DISKS = Path(__file__).with_name("boot") / "disks.sh"
MEMORY = Path(__file__).with_name("boot") / "memory.sh"

ENV_FILE = "/etc/ml-infra/boot.env"
FOLDER = "/usr/local/lib/ml-infra"

_END_OF_FILES = "END_OF_FILES"
_END_OF_VALUES = "END_OF_VALUES"
# The name under which the values that are known come with the files.
VALUES = "boot.env"
_COLUMNS = 2000
_HERE_DOCUMENT = re.compile(r"(?<!<)<<(?!<)-?\s*(['\"]?)(\w+)\1")
# Base 85 takes 6 % less than base 64. Of its characters, $ and % begin markers of Terraform: others stand for them. No
# quotes and backslashes, since it may have to be quoted.
_STAND_INS = ("$%", ",.")
# Python is on every image (cloud-init is written in it), bzip2 not.
# What is there is replaced by renaming: a script that runs is read on from the file it began with, and a power cut
# leaves the old file or the new one.
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
    """What should be shipped to a machine cannot be: too large, or a value or file that the format cannot hold."""


def render(*, values: Mapping[str, str], files: Sequence[Path], main: str, limit: int = USER_DATA_LIMIT) -> str:
    """User data for Terraform: template markers escaped, tokens in `values` left for Terraform to fill.

    values: shell variable -> value, written to /etc/ml-infra/boot.env. No white space, quotes, `$`, backquotes or
    backslashes.
    files: written to /usr/local/lib/ml-infra under their own names, as `shipped` has them; `main` is the one that is
    run, as root.
    limit: bytes, without encoding.
    Raises UserDataError.
    """
    check(values, files, main)
    # What is known already is compressed too.
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
    """Raises UserDataError where `main` is not among the files, or a value is not what boot.env can hold."""
    if main not in [file.name for file in files]:
        raise UserDataError(f"{main} is to be run but is not among the files: {', '.join(file.name for file in files)}")
    for key, value in values.items():
        if re.search(r"[\s'\"$`\\]", REFERENCE.sub("", value)):
            raise UserDataError(
                f"{key}={value!r} cannot go into {ENV_FILE}: white space, quotes, $ and \\ are not allowed"
            )


def too_large(main: str, size: int, limit: int, files: Sequence[Path]) -> UserDataError:
    """What to raise for user data of so many bytes."""
    return UserDataError(
        f"the script that carries {main} is {size} bytes and at most {limit} are taken: shorten one of "
        + ", ".join(f"{file.name} ({file.stat().st_size})" for file in files)
    )


def shipped(file: Path) -> str:
    """What the machine gets of a file: all of it, but where a script has a comment or docstring, empty lines, and
    in shell scripts no indentation.

    So what a machine says of a line is about that line of the file. Raises UserDataError for a file that is not text
    with a last line that ends.
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
    """What `compressed` gives, in base 85."""
    return base64.b85encode(compressed(files, values)).decode().translate(str.maketrans(*_STAND_INS))


def compressed(files: Sequence[Path], values: Mapping[str, str]) -> bytes:
    """Files and, as the last one, values, by bzip2: the same bytes wherever and whenever they are made.

    That matters, since other user data replaces the machine. bzip2 has written the same bytes since 2000, whereas
    deflate's depend on which zlib Python was built with, and LZMA's on the version of liblzma. No tar: its headers take
    2 % of what fits. Raises UserDataError where `shipped` does.
    """
    texts = {file.name: shipped(file) for file in files}
    texts[VALUES] = "".join(f"{key}={value}\n" for key, value in values.items())
    # No text holds a NUL: `shipped` sees to that.
    return bz2.compress("\0".join(part for text in texts.items() for part in text).encode())


def unpacked(user_data: str) -> dict[str, str]:
    """The files in rendered user data, by name: what the machine will find in FOLDER.

    Raises UserDataError where there are none.
    """
    return {name: text for name, text in _texts(user_data).items() if name != VALUES}


def values(user_data: str) -> dict[str, str]:
    """The values in rendered user data, by shell variable; what Terraform fills in, as it is there.

    Raises UserDataError where there are no files.
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
