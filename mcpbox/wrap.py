"""Composition root of ``mcpbox wrap``: command → profile → spec → sandbox → relay, undone in reverse order."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from mcpbox import command, paths, policy, profile, relay, sandbox, sessions
from mcpbox.errors import McpboxError
from mcpbox.journal import Journal
from mcpbox.policy.base import Rules
from mcpbox.session import Session
from mcpbox.spec import build_spec, server_name

#: Seconds a host waits for the answer to its first request, where that is known; mcpbox answers in its place just
#: before. The SDKs' default is 60 s.
HOST_PATIENCE = {"opencode": 5, "codex": 10, "continue": 20, "claude-code": 30, "qwen": 30}
DEFAULT_PATIENCE = 60


class Options(Struct, frozen=True):
    """The options of ``wrap``; None for what the profile decides."""

    profile: str | None = None
    backend: str | None = None
    name: str | None = None
    host: str = ""
    learn_network: bool = False


def run(argv: Sequence[str], options: Options) -> int:
    """Run one server for the host on standard input and output; the exit code of ``wrap``.

    A failure to start is told to the host as the answer to its first request, and raised as McpboxError.
    """
    try:
        with ExitStack() as stack:
            return _run(stack, argv, options)
    except _NotStarted as failure:
        # A person at a terminal sends no request, and reads the same on stderr.
        if not os.isatty(0):
            relay.decline(failure.error)
        raise failure.error from None


class _NotStarted(Exception):
    """The sandbox is not running, so the host's first request is still unanswered."""

    def __init__(self, error: McpboxError) -> None:
        super().__init__(error.message)
        self.error = error


def _run(stack: ExitStack, argv: Sequence[str], options: Options) -> int:
    try:
        home = paths.home()
        cwd = _cwd()
        server = command.resolve(argv, path=os.environ.get("PATH", os.defpath), cwd=str(cwd), home=str(home))
        resolved = profile.resolve(options.profile, server.identities)
        profile.require_enforceable(resolved)
        name = server_name(options.name or resolved.profile.name, server)
        chosen = sandbox.choose(options.backend or resolved.profile.sandbox.backend)
        session = sessions.begin(name, chosen)
        stack.callback(session.end)
        journal = Journal(name, session.id)
        stack.callback(journal.close)
        spec = build_spec(server, resolved, session=session.id, name=name, home=home, cwd=cwd)
        if options.learn_network or resolved.profile.network.allow:
            from mcpbox import network

            spec = replace(spec, relay=network.relay(resolved, learn=options.learn_network))
        journal.record(
            {
                "event": "launch",
                "command": list(argv),
                "backend": chosen,
                "profile": resolved.source,
                "host": options.host,
            }
        )
        process = sandbox.load(chosen).launch(spec, session.remember)
    except McpboxError as error:
        raise _NotStarted(error) from None
    except OSError as error:
        raise _NotStarted(McpboxError(str(error), "run: mcpbox doctor")) from None
    stack.callback(process.close)
    if process.egress is not None:
        gateway = network.open_gateway(process, resolved, journal.record, learn=options.learn_network)
        stack.callback(gateway.close)
        if options.learn_network:
            stack.callback(lambda: network.tell(f"to allow what was used:\n{network.learned(gateway, resolved)}"))
    # What earlier crashes left; after the start, which it must not delay.
    threading.Thread(target=sessions.reap, name="reap", daemon=True).start()
    messages = resolved.profile.messages
    rules = Rules(
        tools_allow=resolved.profile.tools.allow,
        tools_deny=resolved.profile.tools.deny,
        sampling=messages.sampling,
        elicitation=messages.elicitation,
        roots=messages.roots,
        visible=tuple(mount.target for mount in spec.mounts),
    )
    gc.freeze()
    gc.enable()
    code = relay.Relay(
        Session(policy.build(rules), int(messages.max_bytes)),
        process,
        journal.record,
        answer_within=HOST_PATIENCE.get(options.host, DEFAULT_PATIENCE) * 0.9,
    ).run()
    journal.record({"event": "end", "code": code})
    return code


def _cwd() -> Path:
    try:
        return Path.cwd()
    except OSError:
        return Path("/")
