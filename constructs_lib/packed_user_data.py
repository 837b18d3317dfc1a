"""Render user data of EC2 machines as bytes: the same content as in user_data.py, in a fifth less space.

The format is gzip, which cloud-init accepts (https://github.com/canonical/cloud-init/blob/20.2/doc/rtd/topics/format.rst).
Values that Terraform fills in later cannot be part of gzip's content, because its checksum is computed here. The header
of RFC 1952 has no checksum and is not compressed:

    extra field "ml"    the files and the known values, compressed with bzip2
    file name           padding to a multiple of three bytes, so that base 64 can be continued
    comment             the values that only Terraform knows
    content             uncompressed: the script that unpacks the others from the file in which cloud-init stores them
"""

import base64
import bz2
import gzip
import json
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from constructs_lib.terraform_text import REFERENCE, expression
from constructs_lib.user_data import (
    ENV_FILE,
    FOLDER,
    PLACE_FILES,
    USER_DATA_LIMIT,
    VALUES,
    UserDataError,
    check,
    compressed,
    too_large,
)

# https://github.com/canonical/cloud-init/blob/20.2/cloudinit/helpers.py, Paths, "userdata_raw"; written as it came, by
# Init._store_rawdata in stages.py.
RAW: Final = "/var/lib/cloud/instance/user-data.txt"

_BEFORE_EXTRA: Final = 16
# The assumed length of a value that Terraform fills in.
_LATER_BYTES: Final = 64

_SCRIPT: Final = f"""\
#!/bin/bash
set -euo pipefail
install -d -m 0755 {FOLDER} {Path(ENV_FILE).parent}
python3 - <<'END'
import bz2, os
data = open("{RAW}", "rb").read()
end = {_BEFORE_EXTRA} + int.from_bytes(data[14:16], "little")
parts = bz2.decompress(data[{_BEFORE_EXTRA}:end]).decode().split("\\0")
parts[-1] += data[end:].split(b"\\0")[1].decode()
os.chdir("{FOLDER}")
{PLACE_FILES}END
mv {FOLDER}/{VALUES} {ENV_FILE}
exec {FOLDER}/"""


def render(*, values: Mapping[str, str], files: Sequence[Path], main: str, limit: int = USER_DATA_LIMIT) -> str:
    """Return a Terraform expression for `user_data_base64`. Arguments and errors: as for user_data.render."""
    check(values, files, main)
    later = {key: value for key, value in values.items() if REFERENCE.search(value)}
    packed = compressed(files, {key: value for key, value in values.items() if key not in later})
    head, tail = _head(packed), _tail(f"{_SCRIPT}{main}\n".encode())
    lines = "".join(f"{key}={value}\n" for key, value in later.items())
    size = len(head) + len(REFERENCE.sub("x" * _LATER_BYTES, lines)) + 2 + len(tail)
    if size > limit:
        raise too_large(main, size, limit, files)
    text = expression(lines)
    fill = f'substr("\\n\\n", 0, (3 - length({text}) % 3) % 3)'
    pieces = [f'"{_base64(head)}"', f'base64encode(join("", [{text}, {fill}]))', f'"{_base64(tail)}"']
    return f'${{join("", [{", ".join(pieces)}])}}'


def filled(user_data: str, value: Callable[[str], str]) -> bytes:
    """Evaluate an expression of `render` as Terraform does, with the value of each reference in it.

    Raises UserDataError for any other text.
    """
    head, pieces, tail = _pieces(user_data)
    lines = "".join(value(reference) if reference else text for text, reference in pieces)
    return base64.b64decode(head) + lines.encode() + b"\n" * (-len(lines) % 3) + base64.b64decode(tail)


def unpacked(user_data: str | bytes) -> dict[str, str]:
    """Return the files in rendered or evaluated user data by name, as the machine will find them in FOLDER.

    Raises UserDataError if there are none.
    """
    return {name: text for name, text in _texts(user_data).items() if name != VALUES}


def values(user_data: str | bytes) -> dict[str, str]:
    """Return the values in rendered or evaluated user data; before evaluation, references are `${address}`.

    Raises UserDataError if there are none.
    """
    return dict(line.split("=", 1) for line in _texts(user_data)[VALUES].splitlines() if line)


def script(user_data: bytes) -> str:
    """Return the script that cloud-init runs."""
    return gzip.decompress(user_data).decode()


def _texts(user_data: str | bytes) -> dict[str, str]:
    if isinstance(user_data, str):
        user_data = filled(user_data, "${{{}}}".format)
    if user_data[12:14] != b"ml":
        raise UserDataError("this is not user data that was rendered here: it carries no files")
    end = _BEFORE_EXTRA + int.from_bytes(user_data[14:16], "little")
    parts = bz2.decompress(user_data[_BEFORE_EXTRA:end]).decode().split("\0")
    parts[-1] += user_data[end:].split(b"\0")[1].decode()
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _pieces(user_data: str) -> tuple[str, list[tuple[str, str]], str]:
    """Split an expression into base 64, pairs of text and reference (one of each pair is empty), and base 64."""
    lines = r'base64encode\(join\("", \[(.*), substr\(.*\)\]\)\)'
    found = re.fullmatch(rf'\$\{{join\("", \["([\w+/]+)", {lines}, "([\w+/=]+)"\]\)\}}', user_data)
    if not found:
        raise UserDataError("this is not user data that was rendered here: it carries no files")
    inner = re.fullmatch(r'join\("", \[(.*)\]\)', found[2])
    parts = re.findall(r'"((?:[^"\\]|\\.)*)"|([\w.${}\[\]]+)', inner[1] if inner else found[2])
    return found[1], [(json.loads(f'"{text}"'), reference) for text, reference in parts], found[3]


def _head(packed: bytes) -> bytes:
    """Return everything before the comment, padded to a multiple of three bytes."""
    extra = b"ml" + len(packed).to_bytes(2, "little") + packed
    # Magic; deflate; FEXTRA, FNAME and FCOMMENT; no time; no hint; unknown system.
    start = b"\x1f\x8b\x08\x1c" + bytes(5) + b"\xff" + len(extra).to_bytes(2, "little") + extra
    name = b"boot"
    return start + name + b"-" * (-(len(start) + len(name) + 1) % 3) + b"\0"


def _tail(content: bytes) -> bytes:
    """Return the end of the comment and a deflate stream of one stored block, independent of zlib's version."""
    size = len(content).to_bytes(2, "little")
    stored = b"\x01" + size + bytes(byte ^ 0xFF for byte in size) + content
    return b"\0" + stored + zlib.crc32(content).to_bytes(4, "little") + len(content).to_bytes(4, "little")


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
