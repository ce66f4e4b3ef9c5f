"""The rules that every message passes, in this order. The first that refuses ends the message's way. No I/O.

Apart from ``base``, which much of mcpbox needs before a server may start: the patterns of these take 40 ms to compile.
"""

from mcpbox.policy.base import Policy, Rules
from mcpbox.policy.calls import CallRules
from mcpbox.policy.credentials import Credentials
from mcpbox.policy.definitions_scan import DefinitionScan
from mcpbox.policy.descriptions import Descriptions
from mcpbox.policy.flows import Flows
from mcpbox.policy.injection import Injection
from mcpbox.policy.names import NameAllowlist
from mcpbox.policy.pins import Pins
from mcpbox.policy.requests import ServerRequests
from mcpbox.policy.roots import VisibleRoots
from mcpbox.policy.sensitive import SensitiveData
from mcpbox.policy.shadowing import Shadowing
from mcpbox.policy.tools import ToolAllowlist

# What may be hidden for good comes before the pins, which approve what they are the first to see; the allowlists come
# after: what a profile hides from one host is none the less what the server said first.
POLICIES = (
    DefinitionScan,
    Shadowing,
    Pins,
    ToolAllowlist,
    NameAllowlist,
    ServerRequests,
    VisibleRoots,
    Credentials,
    Descriptions,
    CallRules,
    SensitiveData,
    Injection,
    Flows,
)


def build(rules: Rules) -> tuple[Policy, ...]:
    """One instance of each policy, for one session."""
    return tuple(policy(rules) for policy in POLICIES)
