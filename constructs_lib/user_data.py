"""User data: a small program that puts shipped files on the machine and starts the main one."""

import ast
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

_ENV_FILE = "/etc/ml-infra/boot.env"
FOLDER = "/usr/local/lib/ml-infra"

_END_OF_FILES = "END_OF_FILES"
_END_OF_VALUES = "END_OF_VALUES"
# The name under which the values that are known come with the files.
_VALUES = "boot.env"
_COLUMNS = 2000
_HERE_DOCUMENT = re.compile(r"(?<!<)<<(?!<)-?\s*(['\"]?)(\w+)\1")
# All that are printed, but $ and %, which begin markers of Terraform. 8 % less than base 64, 2 % less than base 85.
_DIGITS = "".join(chr(code) for code in range(33, 127) if chr(code) not in "$%")
# Python is on every image (cloud-init is written in it), bzip2 not.
# What is there is replaced by renaming: a script that runs is read on from the file it began with, and a power cut
# leaves the old file or the new one.
_UNPACK = """\
import bz2, os, sys
os.chdir(sys.argv[1])
digits = [chr(code) for code in range(33, 127) if code not in (36, 37)]
number = 0
for digit in sys.stdin.read().replace("\\n", ""): number = number * 92 + digits.index(digit)
parts = bz2.decompress(number.to_bytes(16384, "big").lstrip(b"\\0")).decode().split("\\0")
for name, text in zip(parts[::2], parts[1::2]):
    with open("new", "w") as file: file.write(text)
    os.chmod("new", 0o755 if name.endswith(".sh") else 0o644)
    os.rename("new", name)
"""


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
    if main not in [file.name for file in files]:
        raise UserDataError(f"{main} is to be run but is not among the files: {', '.join(file.name for file in files)}")
    for key, value in values.items():
        if re.search(r"[\s'\"$`\\]", REFERENCE.sub("", value)):
            raise UserDataError(
                f"{key}={value!r} cannot go into {_ENV_FILE}: white space, quotes, $ and \\ are not allowed"
            )

    # What is known already is compressed too.
    known = {key: value for key, value in values.items() if not REFERENCE.search(value)}
    packed = archive(files, known)
    text = "\n".join(
        [
            "#!/bin/bash",
            "set -euo pipefail",
            f"install -d -m 0755 {FOLDER} {Path(_ENV_FILE).parent}",
            f"python3 -c '{_UNPACK}' {FOLDER} <<'{_END_OF_FILES}'",
            *(packed[start : start + _COLUMNS] for start in range(0, len(packed), _COLUMNS)),
            _END_OF_FILES,
            f"cat >>{FOLDER}/{_VALUES} <<'{_END_OF_VALUES}'",
            *(f"{key}={value}" for key, value in values.items() if key not in known),
            _END_OF_VALUES,
            f"mv {FOLDER}/{_VALUES} {_ENV_FILE}",
            f"exec {FOLDER}/{main}",
            "",
        ]
    )
    size = len(REFERENCE.sub("x" * 64, text).encode())
    if size > limit:
        raise UserDataError(
            f"the script that carries {main} is {size} bytes and at most {limit} are taken: shorten one of "
            + ", ".join(f"{file.name} ({file.stat().st_size})" for file in files)
        )
    # Tokens are Terraform's to fill; everything else is the machine's.
    pieces = REFERENCE.split(text)
    tokens = [*REFERENCE.findall(text), ""]
    return "".join(literal(piece) + token for piece, token in zip(pieces, tokens, strict=True))


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
    """Values and files, compressed by bzip2, in base 92: the same text wherever and whenever it is made.

    That matters, since other user data replaces the machine. bzip2 has written the same bytes since 2000, whereas
    deflate's depend on which zlib Python was built with, and LZMA's on the version of liblzma. No tar: its headers take
    2 % of what fits. Raises UserDataError where `shipped` does.
    """
    texts = {file.name: shipped(file) for file in files}
    texts[_VALUES] = "".join(f"{key}={value}\n" for key, value in values.items())
    # No text holds a NUL: `shipped` sees to that.
    packed = bz2.compress("\0".join(part for text in texts.items() for part in text).encode())
    # It begins with "BZh": no zeros are lost.
    number, digits = int.from_bytes(packed, "big"), []
    while number:
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


def unpacked(user_data: str) -> dict[str, str]:
    """The files in rendered user data, by name: what the machine will find in FOLDER.

    Raises UserDataError where there are none.
    """
    return {name: text for name, text in _texts(user_data).items() if name != _VALUES}


def values(user_data: str) -> dict[str, str]:
    """The values in rendered user data, by shell variable; what Terraform fills in, as it is there.

    Raises UserDataError where there are no files.
    """
    later = user_data.partition(f"<<'{_END_OF_VALUES}'\n")[2].partition(f"{_END_OF_VALUES}\n")[0]
    lines = (_texts(user_data)[_VALUES] + later).splitlines()
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


def _texts(user_data: str) -> dict[str, str]:
    _, begin, rest = user_data.partition(f"<<'{_END_OF_FILES}'")
    if not begin:
        raise UserDataError("this is not user data that was rendered here: it carries no files")
    encoded = rest.partition("\n")[2].partition(f"\n{_END_OF_FILES}\n")[0]
    number = 0
    for digit in encoded.replace("\n", ""):
        number = number * len(_DIGITS) + _DIGITS.index(digit)
    parts = bz2.decompress(number.to_bytes(len(encoded), "big").lstrip(b"\0")).decode().split("\0")
    return dict(zip(parts[::2], parts[1::2], strict=True))
