"""`ops notebook` against the embedded AWS."""

import webbrowser

import pytest

from ops.deployment import machines
from ops.deployment.machines import Machine
from tests.ops.status_support import Place, notebook_status
from tests.ops.support import wait_for

pytestmark = pytest.mark.system

URL = "https://ml-core-notebook.notebook.us-east-1.sagemaker.aws?authToken="


@pytest.fixture(scope="module")
def place(deployed: Place) -> Place:
    wait_for("the notebook", lambda: notebook_status(deployed) == "InService")
    return deployed


def test_the_url_is_all_there_is_on_stdout(place: Place) -> None:
    finished = place.ops("notebook")

    assert finished.status == 0
    assert finished.out.startswith(URL)
    assert len(finished.out.split()) == 1
    assert "Valid for 5 minutes; a session lasts 12 hours." in " ".join(finished.err.split())


def test_as_json(place: Place) -> None:
    document = place.ops("notebook", "--json").document

    assert document.keys() == {"name", "url"}
    assert document["name"] == "ml-core-notebook"
    assert document["url"].startswith(URL)


@pytest.mark.parametrize(("there", "status"), [(True, 0), (False, 1)])
def test_in_the_browser(place: Place, monkeypatch: pytest.MonkeyPatch, there: bool, status: int) -> None:
    opened: list[str] = []

    def browser(url: str) -> bool:
        opened.append(url)
        return there

    monkeypatch.setattr(webbrowser, "open", browser)

    finished = place.ops("notebook", "--open")

    assert finished.status == status
    assert opened == [finished.out.strip()]
    assert ("no browser is available here" in finished.err) is not there


@pytest.mark.parametrize(
    ("state", "failure", "said"),
    [
        ("Stopped", None, "the notebook is stopped: ops start notebook"),
        ("Stopping", None, "the notebook is stopping: ops start notebook"),
        ("Pending", None, "the notebook is pending: ops wait notebook"),
        ("Failed", "no room", "the notebook is failed (no room): cdktf deploy train-model-dev"),
        ("gone", None, "the notebook is gone: cdktf deploy train-model-dev"),
    ],
)
def test_one_that_does_not_run(
    place: Place, monkeypatch: pytest.MonkeyPatch, state: str, failure: str | None, said: str
) -> None:
    seen = Machine("notebook", "ml-core-notebook", state, "ml.t3.medium", None, failure=failure)
    monkeypatch.setattr(machines, "look_at", lambda *_: seen)

    finished = place.ops("notebook")

    assert (finished.status, finished.out) == (1, "")
    assert finished.said == f"ops: {said}"


def test_where_there_is_none(prepared: Place) -> None:
    finished = prepared.named("without-notebook").ops("notebook")

    assert finished.status == 1
    assert "train-model-dev is not deployed. cdktf deploy train-model-dev" in finished.err
