"""The deployment that a stack belongs to, and the location of its state: the settings that every stack shares."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Identify one deployment in one account by its name and region.

    Both are part of the states' keys. With the name alone, after a change of region Terraform would search the new
    region for the resources, drop them from its state, and create them again while the old ones continue to cost money.
    """

    name: str
    project: str
    region: str
    state_bucket: str
    state_prefix: str
    state_region: str
    state_use_path_style: bool = False
    state_kms_key_arn: str | None = None

    def prefixed(self, name: str) -> str:
        """Return the AWS name of a resource that the original called `name`."""
        return f"{self.name}-{name}"

    def prefixed_globally(self, name: str) -> str:
        """Return the same for IAM, whose names are shared by all regions."""
        return f"{self.name}-{self.region}-{name}"

    def state_key(self, stack: str) -> str:
        """Return the S3 key of a stack's state."""
        return f"{self.state_prefix}/{self.name}/{self.region}/{stack}.tfstate"

    def tags(self, stack: str) -> dict[str, str]:
        """Return the tags of every resource in a stack."""
        return {"project": self.project, "deployment": self.name, "stack": stack, "managed-by": "terraform"}
