"""One's own address: the jump host, and all that is behind it, is open to the blocks of access.deployer_cidrs alone."""

from collections.abc import Iterator

from ops.core.errors import OpsError
from ops.doctor.report import Check, Finding, Patient, ok, problem, unknown
from ops.remote import reach

_SUBJECT = "your address"


def own_address(patient: Patient) -> Iterator[Finding]:
    """This machine is let in. A deploy does not fail by it, but nobody gets in to see what was paid for."""
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
