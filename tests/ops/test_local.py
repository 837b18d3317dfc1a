"""What `make local` prepares is what `ops bootstrap` and `ops doctor` want of an account."""

import pytest

from ops.core.environment import LOCAL_KEY_PAIR
from tests.ops.status_support import Place

pytestmark = pytest.mark.system

# They ask github.com, which not every machine reaches.
OUTSIDE = {"training code", "notebook code"}


def test_the_state_bucket_is_as_bootstrap_makes_it(prepared: Place) -> None:
    finished = prepared.ops("bootstrap", "--check", "--json")

    assert finished.status == 0, finished.out
    assert {step["outcome"] for step in finished.document["steps"]} == {"was right"}


def test_doctor_has_nothing_to_say(prepared: Place) -> None:
    key = prepared.folder / f"{LOCAL_KEY_PAIR}.pem"
    finished = prepared.named("fresh").ops("doctor", "--json", "--key", str(key))

    found = {(each["subject"], each["state"]): each["detail"] for each in finished.document["findings"]}
    wrong = {name: detail for name, detail in found.items() if name[1] != "ok" and name[0] not in OUTSIDE}
    assert wrong == {}
    assert finished.status == 0
