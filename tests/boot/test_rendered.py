"""What is handed to cloud-init, for every kind of machine."""

from constructs_lib.packed_user_data import script
from tests.boot import machines
from tests.boot.workshop import Workshop

CHECK = r"""
cd /root/rendered
for name in *; do
  cloud-init schema --config-file "$name" >"/root/said.$name" 2>&1
  echo "$name $?" >>/root/statuses
done
"""


def test_cloud_init_knows_what_it_is_given(workshop: Workshop) -> None:
    # It says nothing of what is compressed; that it takes this too, a worker's first boot shows.
    rendered = {profile: script(workshop.worker(profile)) for profile in machines.TYPES}
    rendered |= {"jump": script(machines.jump()), "metrics": script(machines.metrics())}
    # What is neither a script nor a configuration is found out.
    rendered["wrong"] = rendered["jump"].replace("#!/bin/bash", "bash", 1)
    machine = workshop.machine()
    for name, text in rendered.items():
        machine.prepare(f"/root/rendered/{name}", text)
    machine.prepare("/root/check", CHECK)
    machine.execute("/bin/bash /root/check")

    statuses = dict(line.split() for line in machine.read("/root/statuses").splitlines())
    assert statuses == {name: "1" if name == "wrong" else "0" for name in rendered}
    assert "User-data type 'text/x-shellscript'" in machine.read("/root/said.none")
    assert "Unrecognized user-data header" in machine.read("/root/said.wrong")
