"""The way into the notebook: a URL that SageMaker signs for whoever may use it."""

from typing import Final, NamedTuple

from ops.core.errors import OpsError
from ops.core.session import Session
from ops.deployment import machines
from ops.deployment.machines import PLACES, Machine

# "valid only for 5 minutes", and a session of 12 hours unless another length is asked for:
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreatePresignedNotebookInstanceUrl.html
OPENS_FOR: Final = "5 minutes"
SESSION: Final = "12 hours"


class Door(NamedTuple):
    """A notebook that runs, and its URL. Whoever has the URL is in."""

    machine: Machine
    url: str


def door(session: Session) -> Door:
    """Return a presigned URL. Raises OpsError when the notebook is not deployed or not running; ClientError."""
    machine = machines.look_at(session, "notebook", machines.deployed_id(session, "notebook"))
    if machine.state != "InService":
        raise _unavailable(machine)
    answer = session.client("sagemaker").create_presigned_notebook_instance_url(NotebookInstanceName=machine.id)
    return Door(machine, str(answer["AuthorizedUrl"]))


def _unavailable(machine: Machine) -> OpsError:
    match machine.state:
        case "Stopped" | "Stopping":
            return OpsError(f"the notebook is {machine.state.lower()}", fix="ops start notebook")
        case "Pending" | "Updating":
            return OpsError(f"the notebook is {machine.state.lower()}", fix="ops wait notebook")
    why = f" ({machine.failure})" if machine.failure else ""
    return OpsError(f"the notebook is {machine.state.lower()}{why}", fix=f"cdktf deploy {PLACES['notebook'].stack}")
