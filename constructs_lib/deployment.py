"""Who a stack belongs to and where its state lives: the part of the settings that every stack shares."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """One deployment in one account: its name and its region separate it from others.

    Both are in the state's keys. With the name alone, a changed region would have Terraform look for everything where
    it is not, forget it, and build it again, while the first of it all went on and was paid for.
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
        """The AWS name of a thing the original called `name`."""
        return f"{self.name}-{name}"

    def prefixed_globally(self, name: str) -> str:
        """The same for IAM, where all regions share the names."""
        return f"{self.name}-{self.region}-{name}"

    def state_key(self, stack: str) -> str:
        """The S3 key of a stack's state."""
        return f"{self.state_prefix}/{self.name}/{self.region}/{stack}.tfstate"

    def tags(self, stack: str) -> dict[str, str]:
        """The tags that everything of a stack carries."""
        return {"project": self.project, "deployment": self.name, "stack": stack, "managed-by": "terraform"}
