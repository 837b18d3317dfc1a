"""The base class of every stack: provider, default tags, S3 state, and Terraform addresses equal to construct ids."""

from pathlib import Path

from cdktf import S3Backend, TerraformElement, TerraformOutput, TerraformStack
from cdktf_cdktf_provider_aws.provider import AwsProvider, AwsProviderDefaultTags
from constructs import Construct, Node

from constructs_lib.deployment import Deployment
from constructs_lib.terraform_text import writes_hcl

# S3 native state locking and write-only attributes are complete in Terraform 1.11:
# https://github.com/hashicorp/terraform/releases/tag/v1.11.0
TERRAFORM_VERSION = ">= 1.11.0"

# How often the provider tries a call that AWS throttles or answers with a 5xx. EC2 has a 500 for
# InsufficientInstanceCapacity, and the provider's own 25 tries make more than eight minutes of "Still creating…" of it.
# The pauses of aws-sdk-go-v2 (aws/retry, ExponentialJitterBackoff) are at most 1, 2, 4, 8, 16 and then 20 seconds: 10
# tries end within two minutes, and where three calls in ten fail, one in 170,000 does so ten times.
MOST_RETRIES = 10


class DuplicateAddressError(ValueError):
    """Report that two elements of one type in a stack have the same id, and so the same Terraform address."""


class BaseStack(TerraformStack):
    """Use construct ids as Terraform addresses: `Vpc(scope, "core")` is `aws_vpc.core` at any depth.

    Raises DuplicateAddressError if two elements would share an address.
    """

    def __init__(self, scope: Construct, id: str, *, deployment: Deployment) -> None:
        self._address_nodes: dict[tuple[str, str], Node] = {}
        self._hcl_supplement = [f'terraform {{\n  required_version = "{TERRAFORM_VERSION}"\n}}']
        super().__init__(scope, id)
        self.deployment = deployment

        AwsProvider(
            self,
            "aws",
            region=deployment.region,
            max_retries=MOST_RETRIES,
            default_tags=[AwsProviderDefaultTags(tags=deployment.tags(id))],
        )
        S3Backend(
            self,
            bucket=deployment.state_bucket,
            key=deployment.state_key(id),
            region=deployment.state_region,
            # Without `encrypt`, S3 uses the bucket's default encryption for the state and its lock. `encrypt` alone
            # would request AES256 instead: https://developer.hashicorp.com/terraform/language/backend/s3
            encrypt=True if deployment.state_kms_key_arn else None,
            kms_key_id=deployment.state_kms_key_arn,
            use_path_style=deployment.state_use_path_style or None,
        )
        # The bindings of cdktf 0.21 are older than the option.
        self.add_override("terraform.backend.s3.use_lockfile", True)
        if not writes_hcl():
            self.add_override("terraform.required_version", TERRAFORM_VERSION)

    def _allocate_logical_id(self, tf_element: TerraformElement | Node) -> str:
        node = tf_element if isinstance(tf_element, Node) else tf_element.node
        id = node.id
        kind = getattr(tf_element, "terraform_resource_type", type(tf_element).__name__)
        first = self._address_nodes.setdefault((kind, id), node)
        # Read the paths only now: every call to jsii takes half a millisecond.
        if first is not node and first.path != node.path:
            raise DuplicateAddressError(
                f"{kind}.{id} exists twice in stack {self.node.id!r}: at {first.path!r} and at {node.path!r}. "
                "Construct ids are Terraform addresses: change one of the two ids."
            )
        return id

    def boot_values(self) -> dict[str, str]:
        """Return the location values for every machine's boot scripts."""
        return {"DEPLOYMENT": self.deployment.name, "STACK": self.node.id, "AWS_REGION": self.deployment.region}

    def export(self, outputs: dict[str, object]) -> None:
        """Publish Terraform outputs under exactly these names."""
        there = self.node.try_find_child("outputs")
        scope = there if isinstance(there, Construct) else Construct(self, "outputs")
        for name, value in outputs.items():
            TerraformOutput(scope, name, value=value)

    def random_password(self, id: str, *, length: int) -> str:
        """Return a reference to a password that Terraform generates and never stores; for write-only attributes.

        cdktf 0.21 has no class for ephemeral resources, and its HCL omits resources without a class.
        """
        kind = "aws_secretsmanager_random_password"
        if not writes_hcl():
            self.add_override(f"ephemeral.{kind}.{id}", {"password_length": length, "exclude_punctuation": True})
        self.add_hcl(
            f'ephemeral "{kind}" "{id}" {{\n  password_length     = {length}\n  exclude_punctuation = true\n}}'
        )
        return f"${{ephemeral.{kind}.{id}.random_password}}"

    def add_hcl(self, block: str) -> None:
        """Add a block to the file beside cdktf's HCL, which omits resources without a class in cdktf."""
        self._hcl_supplement.append(block)

    def write_hcl_supplement(self, outdir: str) -> None:
        """Write the blocks that cdktf's HCL omits to a file beside it. Call after the synthesis of HCL."""
        file = Path(outdir, "stacks", self.node.id, "supplement.tf")
        file.write_text("\n\n".join(self._hcl_supplement) + "\n", encoding="utf-8")
