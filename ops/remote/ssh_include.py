"""One line in a person's ~/.ssh/config that makes every ssh know the machines of every deployment."""

from pathlib import Path

from ops.core.errors import OpsError
from ops.remote.ssh import quoted, replace


def config_file() -> Path:
    """Return the person's own configuration, which need not exist."""
    return Path.home() / ".ssh" / "config"


def include_line() -> str:
    """Return the line; a pattern, so that one is enough for all deployments."""
    # ssh takes ~ from the password database and not from HOME, so the path is whole.
    return f"Include {quoted(Path.home() / '.ssh' / 'ml-infra' / '*' / 'config', tokens=False)}"


def is_included() -> bool:
    """Return whether the line is there. Raises OpsError when the file is unreadable."""
    return include_line().encode() in [line.strip() for line in _content().splitlines()]


def include() -> bool:
    """Add the line at the top, outside any Host block. Returns False if it was there already."""
    if is_included():
        return False
    # Often a link into a folder of dotfiles: what it points to is changed, the link stays.
    file = config_file().resolve()
    mode = file.stat().st_mode & 0o777 if file.exists() else 0o600
    replace(file, include_line().encode() + b"\n" + _content(), mode=mode)
    return True


def _content() -> bytes:
    try:
        return config_file().read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise OpsError(f"{config_file()} cannot be read: {error.strerror}") from None
