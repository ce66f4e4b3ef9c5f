"""The rules that every message passes, in this order. The first that refuses ends the message's way."""

from mcpbox.policy.base import Policy, Rules
from mcpbox.policy.definitions_scan import DefinitionScan
from mcpbox.policy.descriptions import Descriptions
from mcpbox.policy.injection import Injection
from mcpbox.policy.names import NameAllowlist
from mcpbox.policy.pins import Pins
from mcpbox.policy.requests import ServerRequests
from mcpbox.policy.roots import VisibleRoots
from mcpbox.policy.tools import ToolAllowlist

POLICIES = (
    Pins,
    ToolAllowlist,
    NameAllowlist,
    ServerRequests,
    VisibleRoots,
    DefinitionScan,
    Descriptions,
    Injection,
)


def build(rules: Rules) -> tuple[Policy, ...]:
    """One instance of each policy, for one session."""
    return tuple(policy(rules) for policy in POLICIES)
