"""The key pair: it exists in the region, and its private half is where ssh would find it."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from botocore.exceptions import ClientError

from ops.doctor.report import Check, Finding, Patient, ok, problem, unknown
from ops.environment import BUILD, LOCAL_KEY_PAIR

_SECONDS = 20


def key_pair(patient: Patient) -> Iterator[Finding]:
    """Both halves of the key pair that the settings name."""
    name = patient.settings.access.ssh_keypair_name
    try:
        answer = patient.session.client("ec2").describe_key_pairs(KeyNames=[name], IncludePublicKey=True)
    except ClientError as error:
        if error.response["Error"]["Code"] != "InvalidKeyPair.NotFound":
            raise
        yield problem(
            "key pair",
            f"EC2 has no key pair {name} in {patient.region}",
            f"ops init --key-pair NAME --force, or: aws ec2 import-key-pair --region {patient.region} "
            f"--key-name {name} --public-key-material fileb://~/.ssh/id_ed25519.pub",
        )
        yield unknown("private key", f"there is no key pair {name} to compare it with")
        return
    yield ok("key pair", f"{name} in {patient.region}")
    yield _private_half(name, answer["KeyPairs"][0].get("PublicKey"), patient.key_file)


def _private_half(name: str, public: str | None, named: Path | None) -> Finding:
    subject = "private key"
    wanted = _material(public or "")
    if wanted is None:
        return unknown(subject, "EC2 did not say the public key of the pair, so nothing can be compared with it")
    if named is None and wanted in _agent():
        return ok(subject, "in the ssh agent")
    places = [named] if named else _places(name)
    files = [place for place in places if place.is_file()]
    if not files:
        if named:
            return problem(subject, f"{named} does not exist", "give --key the file of the private key")
        looked = ", ".join(_shown(place) for place in places)
        return problem(
            subject,
            f"it is neither in the ssh agent nor in {looked}",
            "ssh-add FILE, or move the file there, or ops doctor --key FILE; lost: make another key pair and name it "
            "with ops init --key-pair NAME --force",
        )
    return _of_files(files, wanted, name)


def _of_files(files: Sequence[Path], wanted: str, name: str) -> Finding:
    """The first file that is right, else what is wrong with the first."""
    findings = [_of_file(file, wanted, name) for file in files]
    return next((finding for finding in findings if finding.state == "ok"), findings[0])


def _of_file(file: Path, wanted: str, name: str) -> Finding:
    subject, shown = "private key", _shown(file)
    if not os.access(file, os.R_OK):
        return problem(subject, f"{shown} cannot be read by you", f'sudo chown "$USER" {shown} && chmod 600 {shown}')
    mode = file.stat().st_mode & 0o777
    if mode & 0o077:
        return problem(subject, f"others may read {shown} (mode {mode:o}), and ssh refuses it", f"chmod 600 {shown}")
    found = _public_of(file)
    if found is None:
        return unknown(
            subject,
            f"{shown} is there, but it has a passphrase or is no private key, so it cannot be compared",
            f"ssh-add {shown}",
        )
    if found != wanted:
        return problem(
            subject,
            f"{shown} is the private key of another pair than {name}",
            "give the right file with --key, or name the right pair: ops init --key-pair NAME --force",
        )
    return ok(subject, shown)


def _places(name: str) -> list[Path]:
    """Where it is looked for. The embedded AWS's key is where `make local` put it."""
    home = Path.home() / ".ssh"
    places = [home / name, home / f"{name}.pem"]
    return [*places, BUILD / "local" / f"{name}.pem"] if name == LOCAL_KEY_PAIR else places


def _public_of(file: Path) -> str | None:
    """The public key of a private one; None when it cannot be told. A passphrase hides it, unless the .pub is there."""
    said = _said(["ssh-keygen", "-y", "-P", "", "-f", str(file)])
    if (found := _material(said)) is not None:
        return found
    beside = file.with_name(f"{file.name}.pub")
    return _material(beside.read_text(encoding="utf-8", errors="replace")) if beside.is_file() else None


def _agent() -> set[str]:
    """The public keys that the ssh agent holds; none when no agent answers."""
    lines = _said(["ssh-add", "-L"]).splitlines()
    return {found for line in lines if (found := _material(line)) is not None}


def _material(line: str) -> str | None:
    """Type and key of "ssh-ed25519 AAAA… comment"; None for what is no public key."""
    parts = line.split()
    return " ".join(parts[:2]) if len(parts) >= 2 and parts[1].startswith("AAAA") else None


def _said(command: Sequence[str]) -> str:
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout if answer.returncode == 0 else ""


def _shown(file: Path) -> str:
    home = Path.home()
    return f"~/{file.relative_to(home)}" if file.is_relative_to(home) else str(file)


CHECKS = (Check("key pair", key_pair),)
