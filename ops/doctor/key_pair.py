"""The key pair: it exists in the region, and its private half is where ssh would find it."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from botocore.exceptions import ClientError

from ops.account.own_ssh import Agent, OwnSsh, material, public_of
from ops.core.environment import BUILD, LOCAL_KEY_PAIR
from ops.doctor.report import Check, Finding, Patient, ok, problem, unknown


def key_pair(patient: Patient) -> Iterator[Finding]:
    """Check both halves of the key pair in the settings."""
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
        yield unknown("private key", f"no key pair {name} to compare it with")
        return
    yield ok("key pair", f"{name} in {patient.region}")
    yield _private_half(patient, answer["KeyPairs"][0].get("PublicKey"))


def _private_half(patient: Patient, public: str | None) -> Finding:
    subject, name, named = "private key", patient.settings.access.ssh_keypair_name, patient.key_file
    wanted = material(public or "")
    if wanted is None:
        return unknown(subject, "EC2 did not return the public key of the pair, so there is nothing to compare with")
    if named:
        if not named.is_file():
            return problem(subject, f"{named} does not exist", "pass the file of the private key with --key")
        return _of_file(named, wanted, name)
    # Every machine is reached through this one, so what the person's ssh configuration says of it counts.
    own = OwnSsh(f"{patient.session.name}-jump")
    agent = own.agent()
    if wanted in (agent.keys or ()):
        return ok(subject, f"in the ssh agent {agent.socket}" if agent.named else "in the ssh agent")
    places = _places(name)
    if files := [place for place in places if place.is_file()]:
        return _of_files(files, wanted, name)
    for file in own.key_files():
        if (found := _of_file(file, wanted, name)).state == "ok":
            return found
    return _nowhere(agent, places)


def _nowhere(agent: Agent, places: Sequence[Path]) -> Finding:
    subject, looked = "private key", ", ".join(_shown(place) for place in places)
    if agent.named and agent.keys is None:
        return unknown(
            subject,
            f"the ssh agent {agent.socket} (IdentityAgent in your ssh configuration) does not answer; the key is "
            f"not in {looked}",
            "start or unlock that agent; ssh-add -L lists what it holds",
        )
    return problem(
        subject,
        f"neither in the ssh agent nor in {looked}",
        "ssh-add FILE, or move the file there, or ops doctor --key FILE. Only if it is lost: create another key pair "
        "and set it with ops init --key-pair NAME --force, which replaces every machine at the next deploy",
    )


def _of_files(files: Sequence[Path], wanted: str, name: str) -> Finding:
    """Return the finding of the first right file, else of the first file."""
    findings = [_of_file(file, wanted, name) for file in files]
    return next((finding for finding in findings if finding.state == "ok"), findings[0])


def _of_file(file: Path, wanted: str, name: str) -> Finding:
    subject, shown = "private key", _shown(file)
    if not os.access(file, os.R_OK):
        return problem(subject, f"you cannot read {shown}", f'sudo chown "$USER" {shown} && chmod 600 {shown}')
    mode = file.stat().st_mode & 0o777
    if mode & 0o077:
        return problem(subject, f"others can read {shown} (mode {mode:o}), so ssh refuses it", f"chmod 600 {shown}")
    found = public_of(file)
    if found is None:
        return unknown(
            subject,
            f"{shown} has a passphrase or is not a private key, so it cannot be compared",
            f"ssh-add {shown}",
        )
    if found != wanted:
        return problem(
            subject,
            f"{shown} does not belong to the key pair {name}",
            "pass the right file with --key, or set the right pair: ops init --key-pair NAME --force",
        )
    return ok(subject, shown)


def _places(name: str) -> list[Path]:
    """Return the places to look for the key; `make local` keeps its key in the build folder."""
    home = Path.home() / ".ssh"
    places = [home / name, home / f"{name}.pem"]
    return [*places, BUILD / "local" / f"{name}.pem"] if name == LOCAL_KEY_PAIR else places


def _shown(file: Path) -> str:
    home = Path.home()
    return f"~/{file.relative_to(home)}" if file.is_relative_to(home) else str(file)


CHECKS = (Check("key pair", key_pair),)
