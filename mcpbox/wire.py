"""What stands on the wire of one session: the policies that its profile asks for, with the stores they need."""

from __future__ import annotations

import os
import time

from mcpbox import policy
from mcpbox.policy.base import Rules
from mcpbox.profile import Resolved
from mcpbox.sandbox.base import SandboxSpec
from mcpbox.session import Session


def session(resolved: Resolved, spec: SandboxSpec, *, name: str, host: str) -> Session:
    """The core of the session of the server ``name`` with the application ``host``, "" for one that is not known."""
    messages, tools = resolved.profile.messages, resolved.profile.tools
    rules = Rules(
        server=name,
        host=host,
        tools_allow=tools.allow,
        tools_deny=tools.deny,
        sampling=messages.sampling,
        elicitation=messages.elicitation,
        roots=messages.roots,
        visible=tuple(mount.target for mount in spec.mounts),
    )
    return Session(policy.build(rules), int(messages.max_bytes), clock=_micros, nonce=_nonce)


def _micros() -> int:
    return time.monotonic_ns() // 1000


def _nonce() -> str:
    return os.urandom(16).hex()
