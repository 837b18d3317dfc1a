"""Whether the machines can be launched: type and zone, image, root volume."""

from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError

from constructs_lib.regions import ONE_ZONE_EFS
from ops.deployment.stacks import read_stack
from ops.doctor.report import Check, Finding, Machine, Patient, ok, problem, unknown

# Every type of constructs_lib/instance_types.py is one; EC2 has Arm ones too.
_ARCHITECTURE = "x86_64"


def zones(patient: Patient) -> Iterator[Finding]:
    """Check that the account has the zones, and that they are available."""
    if "mlcore" not in patient.stacks:
        return
    answer = patient.session.client("ec2").describe_availability_zones(AllAvailabilityZones=False)
    found = {zone["ZoneName"]: zone["State"] for zone in answer["AvailabilityZones"]}
    wanted = {"mlcore.az": patient.settings.mlcore.az, "mlcore.az_2": patient.settings.mlcore.az_2}
    open_ones = ", ".join(name for name, state in found.items() if state == "available")
    for setting, zone in wanted.items():
        if found.get(zone) != "available":
            state = f"is {found[zone]}" if zone in found else "does not exist for this account"
            yield problem("zones", f"{zone} ({setting}) {state}", f"set {setting} to one of: {open_ones}")
            return
    yield ok("zones", f"{wanted['mlcore.az']} and {wanted['mlcore.az_2']}")
    yield _one_zone(patient, {zone["ZoneName"]: zone["ZoneId"] for zone in answer["AvailabilityZones"]})


def _one_zone(patient: Patient, ids: dict[str, str]) -> Finding:
    """Check that the zone supports One Zone file systems; zone letters differ by account."""
    subject, zone = "EFS zone", patient.zone
    label = f"{zone} ({ids[zone]} for this account)"
    state = read_stack(patient.session, "mlcore")
    if state and state.attributes("aws_efs_file_system", "core"):
        return ok(subject, "the file system exists")
    known = ONE_ZONE_EFS.get(patient.region)
    if known is None:
        return unknown(
            subject,
            f"cannot tell whether {label} supports One Zone file systems: not every zone does",
            "look up the zone id: https://docs.aws.amazon.com/efs/latest/ug/OneZoneAZs.html",
        )
    if ids[zone] in known:
        return ok(subject, f"{label} supports One Zone file systems")
    others = ", ".join(sorted(name for name, id in ids.items() if id in known))
    return problem(
        subject, f"EFS does not support One Zone file systems in {label}", f"set mlcore.az to one of: {others}"
    )


def types(patient: Patient) -> Iterator[Finding]:
    """Check that EC2 offers each machine's type in the zone."""
    for machine in patient.machines:
        yield _type(patient, machine)


def _type(patient: Patient, machine: Machine) -> Finding:
    subject, name = f"{machine.name}: type", machine.type.name
    offers = patient.everything(
        "ec2",
        "describe_instance_type_offerings",
        "InstanceTypeOfferings",
        LocationType="availability-zone",
        Filters=[{"Name": "instance-type", "Values": [name]}],
    )
    places = sorted(offer["Location"] for offer in offers)
    remark = f". Note: {machine.type.notice}" if machine.type.notice else ""
    if patient.zone in places:
        return ok(subject, f"{name} is offered in {patient.zone}{remark}")
    if places:
        # Moving the zone moves the file system with it, so the type comes first.
        return problem(
            subject,
            f"{name} is not offered in {patient.zone}, only in {', '.join(places)}{remark}",
            f"choose another {machine.type_setting}; or, before mlcore is deployed, set mlcore.az to one of these",
        )
    return problem(
        subject,
        f"EC2 does not offer {name} in {patient.region}{remark}",
        f"choose another {machine.type_setting} (settings.toml lists them), or another region",
    )


def images(patient: Patient) -> Iterator[Finding]:
    """Check that each machine's image exists and fits its type and its root volume."""
    for machine in patient.machines:
        yield _image(patient, machine)


def _image(patient: Patient, machine: Machine) -> Finding:
    subject = f"{machine.name}: image"
    if machine.ami:
        source, fix = f"{machine.ami} ({machine.ami_setting})", f'set {machine.ami_setting} = "" to look it up'
        image_id = machine.ami
    else:
        parameter = machine.type.image_parameter
        source, fix = parameter, f"set {machine.ami_setting} to an image in {patient.region}"
        try:
            image_id = patient.session.client("ssm").get_parameter(Name=parameter)["Parameter"]["Value"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ParameterNotFound":
                raise
            return problem(subject, f"{patient.region} has no public parameter {parameter}", fix)
    try:
        found = patient.session.client("ec2").describe_images(ImageIds=[image_id])["Images"]
    except ClientError as error:
        if not error.response["Error"]["Code"].startswith("InvalidAMIID"):
            raise
        found = []
    if not found:
        return problem(subject, f"no image {image_id} is available to you in {patient.region} ({source})", fix)
    return _fits(machine, found[0], fix)


def _fits(machine: Machine, image: dict[str, Any], fix: str) -> Finding:
    subject, name = f"{machine.name}: image", image.get("Name", "without a name").rpartition("/")[2]
    label = f"{image['ImageId']} ({name})"
    architecture = image.get("Architecture")
    if architecture is None:
        return unknown(subject, f"EC2 does not report the architecture of {label}")
    if architecture != _ARCHITECTURE:
        return problem(subject, f"{label} is for {architecture}, but {machine.type.name} is {_ARCHITECTURE}", fix)
    if image["State"] != "available":
        return problem(subject, f"{label} is {image['State']}", fix)
    size = _root_gib(image)
    if machine.root_gib is not None and size is None:
        return unknown(subject, f"{label} does not report the size of its root volume")
    if machine.root_gib is not None and size is not None and size > machine.root_gib:
        return problem(
            subject,
            f"{label} needs {size} GiB, but {machine.root_setting} is {machine.root_gib}: EC2 would refuse the launch",
            f"set {machine.root_setting} = {size} or more",
        )
    return ok(subject, label)


def _root_gib(image: dict[str, Any]) -> int | None:
    for mapping in image.get("BlockDeviceMappings", []):
        if mapping.get("DeviceName") == image.get("RootDeviceName") and "VolumeSize" in mapping.get("Ebs", {}):
            return int(mapping["Ebs"]["VolumeSize"])
    return None


CHECKS = (Check("zones", zones), Check("types", types), Check("images", images))
