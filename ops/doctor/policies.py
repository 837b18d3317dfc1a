"""IAM policies that allow what the table of actions lists, split where they exceed the size of a managed policy."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from ops.doctor.actions import Group

# "The size of each managed policy cannot exceed 6,144 characters"; IAM does not count white space:
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html ("IAM and STS character limits").
MANAGED_POLICY_CHARACTERS: Final = 6144

Statement = dict[str, Any]
Policy = dict[str, Any]

# Actions that take the ARN of a log group as it is. All others take it with ":*" at its end:
# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_LogGroup.html, "arn" and "logGroupArn".
_LOG_GROUP_TAGS: Final = ("logs:ListTagsForResource", "logs:TagResource", "logs:UntagResource")


def policies(groups: Iterable[Group]) -> list[Policy]:
    """Return the fewest policies, filled in order, that allow the groups' actions on the groups' resources only."""
    found: list[Policy] = []
    for statement in statements(groups):
        for policy in found:
            if size(_policy([*policy["Statement"], statement])) <= MANAGED_POLICY_CHARACTERS:
                policy["Statement"].append(statement)
                break
        else:
            found.append(_policy([statement]))
    return found


def statements(groups: Iterable[Group]) -> list[Statement]:
    """Merge the groups: one statement for each service, set of actions and condition."""
    actions: dict[tuple[str, str, str], set[str]] = {}
    for group in groups:
        condition = json.dumps(_condition(group), sort_keys=True)
        for name in group.names:
            key = (group.service, _resource(name, group.resource), condition)
            actions.setdefault(key, set()).add(name)
    resources: dict[tuple[str, tuple[str, ...], str], list[str]] = {}
    for (service, resource, condition), names in actions.items():
        resources.setdefault((service, tuple(sorted(names)), condition), []).append(resource)
    return [_statement(names, sorted(of), json.loads(condition)) for (_, names, condition), of in resources.items()]


def size(policy: Policy) -> int:
    """Return the number of characters that IAM counts."""
    return len("".join(json.dumps(policy, separators=(",", ":")).split()))


def _condition(group: Group) -> dict[str, Any]:
    equals = {"iam:PassedToService": group.passed_to, "iam:AWSServiceName": group.service_role_of}
    known = {name: value for name, value in equals.items() if value}
    return {"StringEquals": known} if known else {}


def _resource(action: str, resource: str) -> str:
    takes_all = action.startswith("logs:") and ":log-group:" in resource and action not in _LOG_GROUP_TAGS
    return f"{resource}:*" if takes_all else resource


def _statement(actions: Sequence[str], resources: Sequence[str], condition: dict[str, Any]) -> Statement:
    statement: Statement = {"Effect": "Allow", "Action": list(actions), "Resource": list(resources)}
    return {**statement, "Condition": condition} if condition else statement


def _policy(made_of: list[Statement]) -> Policy:
    return {"Version": "2012-10-17", "Statement": made_of}
