"""One's own address: the jump host, and all that is behind it, is open to the blocks of access.deployer_cidrs alone."""

from collections.abc import Iterator

from ops.core.errors import OpsError
from ops.doctor.report import Check, Finding, Patient, ok, problem, unknown
from ops.remote import reach

_SUBJECT = "your address"


def own_address(patient: Patient) -> Iterator[Finding]:
    """Check that this machine's address may connect. A deploy works without it, but ssh does not."""
    try:
        found = reach.standing(patient.session)
    except OpsError as error:
        # Its fix is for `ops init`.
        yield unknown(_SUBJECT, error.problem)
        return
    if found is None:
        return
    if found.problem is not None:
        yield problem(_SUBJECT, *found.problem)
    else:
        yield ok(_SUBJECT, f"{found.address} is in access.deployer_cidrs")


CHECKS = (Check(_SUBJECT, own_address),)
