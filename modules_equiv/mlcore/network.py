"""The private network: a VPC, two public subnets, a private subnet, routes to the internet, and security groups."""

import ipaddress
from collections.abc import Sequence

from cdktf_cdktf_provider_aws.default_security_group import DefaultSecurityGroup
from cdktf_cdktf_provider_aws.eip import Eip
from cdktf_cdktf_provider_aws.internet_gateway import InternetGateway
from cdktf_cdktf_provider_aws.main_route_table_association import (
    MainRouteTableAssociation,
)
from cdktf_cdktf_provider_aws.nat_gateway import NatGateway
from cdktf_cdktf_provider_aws.route_table import RouteTable, RouteTableRoute
from cdktf_cdktf_provider_aws.route_table_association import RouteTableAssociation
from cdktf_cdktf_provider_aws.security_group import (
    SecurityGroup,
    SecurityGroupEgress,
    SecurityGroupIngress,
)
from cdktf_cdktf_provider_aws.subnet import Subnet
from cdktf_cdktf_provider_aws.vpc import Vpc
from cdktf_cdktf_provider_aws.vpc_endpoint import VpcEndpoint
from constructs import Construct

from constructs_lib.deployment import Deployment

# The original's cidrsubnet(vpc, 4, n).
_SUBNET_NEWBITS = 4
_ANYWHERE = "0.0.0.0/0"


class Network(Construct):
    """Create the VPC, subnets and routes. Only the public subnets are reachable from outside, if a group allows it.

    vpc_cidr: IPv4, /16 to /24, so that each subnet is a /20 to /28.
    """

    def __init__(self, scope: Construct, id: str, *, deployment: Deployment, vpc_cidr: str, az: str, az_2: str) -> None:
        super().__init__(scope, id)
        self.vpc = Vpc(
            self,
            "core",
            cidr_block=vpc_cidr,
            instance_tenancy="default",
            enable_dns_support=True,
            enable_dns_hostnames=True,
            tags={"Name": deployment.prefixed("gaudi_ml_core_vpc")},
        )
        blocks = list(ipaddress.ip_network(vpc_cidr).subnets(prefixlen_diff=_SUBNET_NEWBITS))
        self.subnet_pub = self._subnet("subnet_pub", deployment, str(blocks[1]), az, public=True)
        self.subnet_pub_2 = self._subnet("subnet_pub_2", deployment, str(blocks[3]), az_2, public=True)
        self.subnet_pvt = self._subnet("subnet_pvt", deployment, str(blocks[2]), az, public=False)

        inward = Construct(self, "internet")
        self.internet_gateway = InternetGateway(
            inward, "core", vpc_id=self.vpc.id, tags={"Name": deployment.prefixed("igw")}
        )
        self.public_routes = RouteTable(
            inward,
            "main",
            vpc_id=self.vpc.id,
            route=[RouteTableRoute(cidr_block=_ANYWHERE, gateway_id=self.internet_gateway.id)],
            tags={"Name": deployment.prefixed("public")},
        )
        for name, subnet in (("public", self.subnet_pub), ("public_2", self.subnet_pub_2)):
            RouteTableAssociation(inward, name, subnet_id=subnet.id, route_table_id=self.public_routes.id)

        outward = Construct(self, "nat")
        # Creating the address or the NAT gateway fails before the VPC has its internet gateway.
        self.nat_address = Eip(
            outward,
            "core",
            domain="vpc",
            tags={"Name": deployment.prefixed("nat")},
            depends_on=[self.internet_gateway],
        )
        self.nat_gateway = NatGateway(
            outward,
            "nat",
            allocation_id=self.nat_address.id,
            subnet_id=self.subnet_pub.id,
            tags={"Name": deployment.prefixed("nat")},
            depends_on=[self.internet_gateway],
        )
        self.private_routes = RouteTable(
            outward,
            "private",
            vpc_id=self.vpc.id,
            route=[RouteTableRoute(cidr_block=_ANYWHERE, nat_gateway_id=self.nat_gateway.id)],
            tags={"Name": deployment.prefixed("private")},
        )
        routed = Construct(self, "private_routing")
        RouteTableAssociation(routed, "private", subnet_id=self.subnet_pvt.id, route_table_id=self.private_routes.id)
        # The VPC's main table is the private one, so a subnet without an association is private.
        MainRouteTableAssociation(routed, "asc-main-vpc", vpc_id=self.vpc.id, route_table_id=self.private_routes.id)
        # Free, and avoids the NAT gateway's charges for training data.
        self.s3_endpoint = VpcEndpoint(
            routed,
            "s3",
            vpc_id=self.vpc.id,
            service_name=f"com.amazonaws.{deployment.region}.s3",
            vpc_endpoint_type="Gateway",
            route_table_ids=[self.public_routes.id, self.private_routes.id],
            tags={"Name": deployment.prefixed("s3")},
        )

    def _subnet(self, id: str, deployment: Deployment, cidr: str, az: str, *, public: bool) -> Subnet:
        return Subnet(
            self,
            id,
            vpc_id=self.vpc.id,
            cidr_block=cidr,
            availability_zone=az,
            map_public_ip_on_launch=public,
            tags={"Name": deployment.prefixed(id)},
        )


class SecurityGroups(Construct):
    """Create three security groups, and remove all rules from the VPC's default group.

    Rules are part of the groups, so that the next plan shows and removes a rule that was added by hand. A direction
    without rules has an empty list, because Terraform ignores one that is not set.

    deployer_cidrs: IPv4 blocks, the only outside sources that may connect, and to port 22 only.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        deployment: Deployment,
        vpc_id: str,
        vpc_cidr: str,
        deployer_cidrs: Sequence[str],
    ) -> None:
        super().__init__(scope, id)
        # The VPC's default group applies to resources that name no group. Without rules it allows no traffic. Terraform
        # adopts it and removes its rules; a destroy leaves it in place. It is free.
        DefaultSecurityGroup(
            self,
            "core",
            vpc_id=vpc_id,
            ingress=[],
            egress=[],
            tags={"Name": deployment.prefixed("default")},
        )
        self.allow_ml_core_vpc = SecurityGroup(
            self,
            "allow_ml_core_vpc",
            name=deployment.prefixed("gaudi_ml_vpc_allow_all"),
            description="All traffic within the VPC",
            vpc_id=vpc_id,
            ingress=[
                SecurityGroupIngress(
                    description="All from the VPC", protocol="-1", from_port=0, to_port=0, cidr_blocks=[vpc_cidr]
                )
            ],
            egress=[
                SecurityGroupEgress(
                    description="All to the VPC", protocol="-1", from_port=0, to_port=0, cidr_blocks=[vpc_cidr]
                )
            ],
            revoke_rules_on_delete=True,
            tags={"Name": deployment.prefixed("gaudi_ml_vpc_allow_all")},
        )
        self.allow_deployer_sg = SecurityGroup(
            self,
            "allow_deployer_sg",
            name=deployment.prefixed("allow_ssh_from_deployer"),
            description="SSH from the deployer",
            vpc_id=vpc_id,
            ingress=[
                SecurityGroupIngress(
                    description="SSH from the deployer",
                    protocol="tcp",
                    from_port=22,
                    to_port=22,
                    cidr_blocks=list(deployer_cidrs),
                )
            ],
            egress=[],
            revoke_rules_on_delete=True,
            tags={"Name": deployment.prefixed("allow_ssh_from_deployer")},
        )
        self.allow_egress = SecurityGroup(
            self,
            "allow_egress",
            name=deployment.prefixed("allow_ml_core_egress"),
            description="HTTPS and HTTP to anywhere",
            vpc_id=vpc_id,
            ingress=[],
            egress=[
                SecurityGroupEgress(
                    description=f"{name} to anywhere",
                    protocol="tcp",
                    from_port=port,
                    to_port=port,
                    cidr_blocks=[_ANYWHERE],
                    ipv6_cidr_blocks=["::/0"],
                )
                for name, port in (("HTTPS", 443), ("HTTP", 80))
            ],
            revoke_rules_on_delete=True,
            tags={"Name": deployment.prefixed("allow_ml_core_egress")},
        )
