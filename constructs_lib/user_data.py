"""User data: a small program that puts shipped files on the machine and starts the main one."""

import base64
import bz2
import re
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
_COLUMNS = 2000
_HERE_DOCUMENT = re.compile(r"(?<!<)<<(?!<)-?\s*(['\"]?)(\w+)\1")
# Base 85 takes 6 % less than base 64. Of its characters, $ and % begin markers of Terraform: others stand for them.
_STAND_INS = ("$%", ",.")
# Python is on every image (cloud-init is written in it), bzip2 not.
# What is there is replaced by renaming: a script that runs is read on from the file it began with, and a power cut
# leaves the old file or the new one.
_UNPACK = """\
import base64, bz2, os, sys
os.chdir(sys.argv[1])
text = sys.stdin.read().replace("\\n", "").replace(",", "$").replace(".", "%")
parts = bz2.decompress(base64.b85decode(text)).decode().split("\\0")
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

    packed = archive(files)
    text = "\n".join(
        [
            "#!/bin/bash",
            "set -euo pipefail",
            f"install -d -m 0755 {FOLDER} {Path(_ENV_FILE).parent}",
            f"cat >{_ENV_FILE}.new <<'END_OF_VALUES'",
            *(f"{key}={value}" for key, value in values.items()),
            "END_OF_VALUES",
            f"mv {_ENV_FILE}.new {_ENV_FILE}",
            f"# {', '.join(file.name for file in files)} (without their comments)",
            f"python3 -c '{_UNPACK}' {FOLDER} <<'{_END_OF_FILES}'",
            *(packed[start : start + _COLUMNS] for start in range(0, len(packed), _COLUMNS)),
            _END_OF_FILES,
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
    """What the machine gets of a file: all of it, but where a script has a line of comment, an empty one.

    So what a machine says of a line is about that line of the file. Raises UserDataError for a file that is not text
    with a last line that ends.
    """
    # A checkout may have turned the line ends into others.
    content = file.read_bytes().replace(b"\r\n", b"\n")
    if not content.endswith(b"\n") or b"\0" in content:
        raise UserDataError(f"{file}: must be text and end with a newline")
    text = content.decode()
    return _without_comments(text) if file.suffix == ".sh" else text


def _without_comments(script: str) -> str:
    lines, end = [], ""
    for line in script.split("\n"):
        if end:
            end = "" if line == end else end
        elif line.lstrip().startswith("#") and not line.startswith("#!"):
            line = ""
        elif found := _HERE_DOCUMENT.search(line):
            end = found[2]
        lines.append(line)
    return "\n".join(lines)


def archive(files: Sequence[Path]) -> str:
    """The files' names and contents, compressed by bzip2, in base 85: the same text wherever and whenever it is made.

    That matters, since other user data replaces the machine. bzip2 has written the same bytes since 2000, whereas
    deflate's depend on which zlib Python was built with, and LZMA's on the version of liblzma. No tar: its headers take
    2 % of what fits. Raises UserDataError where `shipped` does.
    """
    # No text holds a NUL: `shipped` sees to that.
    packed = bz2.compress("\0".join(part for file in files for part in (file.name, shipped(file))).encode())
    return base64.b85encode(packed).decode().translate(str.maketrans(*_STAND_INS))


def unpacked(user_data: str) -> dict[str, str]:
    """The files in rendered user data, by name: what the machine will find in FOLDER.

    Raises UserDataError where there are none.
    """
    _, begin, rest = user_data.partition(f"<<'{_END_OF_FILES}'")
    if not begin:
        raise UserDataError("this is not user data that was rendered here: it carries no files")
    encoded = rest.partition("\n")[2].partition(f"\n{_END_OF_FILES}\n")[0]
    plain = encoded.replace("\n", "").translate(str.maketrans(*reversed(_STAND_INS)))
    parts = bz2.decompress(base64.b85decode(plain)).decode().split("\0")
    return dict(zip(parts[::2], parts[1::2], strict=True))
