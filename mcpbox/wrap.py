"""Composition root of ``mcpbox wrap``: command → profile → spec → sandbox → relay, undone in reverse order."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from mcpbox import command, paths, profile, sandbox, sessions
from mcpbox.audit.required import is_required
from mcpbox.audit.who import who
from mcpbox.audit.writer import Log
from mcpbox.errors import McpboxError, Unprepared, UsageError
from mcpbox.secrets import PREFIX
from mcpbox.spec import build_spec, own_environment, server_name

if TYPE_CHECKING:
    from mcpbox import network, relay
    from mcpbox.sandbox.base import Process, SandboxSpec
    from mcpbox.session import Session

#: Seconds a host waits for the answer to its first request, where that is known; mcpbox answers in its place just
#: before. The SDKs' default is 60 s.
HOST_PATIENCE = {"opencode": 5, "codex": 10, "continue": 20, "claude-code": 30, "qwen-code": 30}
DEFAULT_PATIENCE = 60
#: How much of that a package may take to be prepared: its server then has to start.
PREPARATION = 0.6


class Options(Struct, frozen=True):
    """The options of ``wrap``; None for what the profile decides. ``env`` are names of variables to pass on."""

    profile: str | None = None
    backend: str | None = None
    name: str | None = None
    host: str = ""
    env: tuple[str, ...] = ()
    learn_network: bool = False
    learn: bool = False

    @property
    def any_host(self) -> bool:
        """Whether no public host is refused, in order to learn which are needed."""
        return self.learn_network or self.learn


def run(argv: Sequence[str], options: Options) -> int:
    """Run one server for the host on standard input and output; the exit code of ``wrap``.

    A failure to start is told to the host as the answer to its first request, and raised as McpboxError.
    """
    try:
        with ExitStack() as stack:
            return _run(stack, argv, options)
    except _NotStarted as failure:
        decline(failure.error)
        raise failure.error from None


def decline(error: McpboxError) -> None:
    """Answer the host's first request with the error. A person at a terminal sends none, and reads it on stderr."""
    if not os.isatty(0):
        from mcpbox import declining

        declining.decline(error)


class _NotStarted(Exception):
    """The sandbox is not running, so the host's first request is still unanswered."""

    def __init__(self, error: McpboxError) -> None:
        super().__init__(error.message)
        self.error = error


class _Started(Struct, frozen=True):
    """A server that runs in its sandbox, and what it was started from.

    ``given`` is what of the user's configuration names hosts, None where no egress was asked for. ``redact`` and
    ``filtered`` keep secrets out of what the host is told and shown.
    """

    name: str
    server: command.Command
    resolved: profile.Resolved
    spec: SandboxSpec
    process: Process
    log: Log
    record: relay.Recorder
    given: network.Given | None
    redact: Callable[[str], str]
    filtered: Callable[[bytes], bytes]


def _run(stack: ExitStack, argv: Sequence[str], options: Options) -> int:
    began, patience = time.monotonic(), HOST_PATIENCE.get(options.host, DEFAULT_PATIENCE)
    started = _start(stack, argv, options, began + patience * PREPARATION)
    try:
        record = _observed(stack, started, options)
        messenger = _messenger(started, options)
    except McpboxError as error:
        raise _NotStarted(error) from None
    except OSError as error:
        raise _NotStarted(McpboxError(started.redact(str(error)), "run: mcpbox doctor")) from None
    # After the start, which none of it must delay.
    threading.Thread(target=_tend, args=(started.log,), name="tend", daemon=True).start()
    gc.freeze()
    gc.enable()
    from mcpbox import relay

    left = patience * 0.9 - (time.monotonic() - began)
    code = relay.Relay(
        messenger,
        started.process,
        record,
        answer_within=max(left, patience * 0.1),
        redact=started.redact,
        filtered=started.filtered,
    ).run()
    try:
        record({"event": "end", "code": code})
    except OSError as error:
        raise McpboxError(f"the session's end cannot be put on record: {error}", "run: mcpbox doctor") from None
    if started.server.unproven and messenger.started:
        from mcpbox.packages import prepare

        prepare.started(started.server.unproven)
    return code


def _start(stack: ExitStack, argv: Sequence[str], options: Options, deadline: float) -> _Started:
    """Start the server; a package that is seen for the first time is prepared, if that is done by ``deadline``."""
    record: relay.Recorder | None = None
    given: network.Given | None = None
    redact: Callable[[str], str] = str
    filtered: Callable[[bytes], bytes] = bytes
    redacted: Callable[[Any], Any] = _same
    try:
        home = paths.home()
        cwd = _cwd()
        choice = _Choice(options)
        server = _command(argv, choice, home, cwd, _search_path(argv, options), deadline)
        resolved = choice.resolved(server.identities)
        name = server_name(options.name or resolved.profile.name, server)
        chosen = choice.backend(server.identities)
        session = sessions.begin(name, chosen)
        stack.callback(session.end)
        if is_required():
            from mcpbox.audit import signing

            signing.require()
        passed = _passed((*options.env, *server.passed))
        spec = build_spec(server, resolved, session=session.id, name=name, home=home, cwd=cwd, passed=passed)
        if resolved.profile.required_secrets or any(
            PREFIX in text for text in (*spec.command, *spec.environment.values())
        ):
            from mcpbox.secrets import held, launch

            spec = launch.inject(spec, server, resolved, passed, session.remember)
            redacted, redact, filtered = held.redacted, held.redact, held.Stream().feed
        table = resolved.profile.network
        if options.any_host or table.allow or table.from_environment or table.from_arguments:
            from mcpbox import network

            own = own_environment(server, resolved, passed)
            given = network.Given({name: spec.secrets.get(name, own[name]) for name in own}, server.arguments)
            spec = replace(spec, relay=network.relay(resolved, given, learn=options.any_host))
        told = redacted(who(server, resolved, spec, host=options.host, backend=chosen))
        log = Log(name, session.id, who=told, content=resolved.profile.audit.content)
        stack.callback(log.close)
        record = _recorder(log, redacted)
        process = sandbox.load(chosen).launch(spec, session.remember, _import_relay)
    except McpboxError as error:
        error.message, error.hint = redact(error.message), redact(error.hint)
        if record:
            with suppress(OSError):
                record({"event": "failed", "reason": error.message})
        raise _NotStarted(error) from None
    except OSError as error:
        raise _NotStarted(McpboxError(redact(str(error)), "run: mcpbox doctor")) from None
    stack.callback(process.close)
    return _Started(name, server, resolved, spec, process, log, record, given, redact, filtered)


def _observed(stack: ExitStack, started: _Started, options: Options) -> relay.Recorder:
    """Open the way out, if there is one, and put on record what the server was granted; what records the rest."""
    from mcpbox.trail import observing

    process, resolved, given = started.process, started.resolved, started.given
    observer = observing.Observer(started.record, started.name, learn=options.learn)
    stack.callback(observer.end)
    record = observer.record
    hosts = [rule.text for rule in given.named(resolved.profile.network)] if given and process.egress else []
    own_code = [mount.target for mount in started.spec.mounts if mount.target in started.server.trees]
    if process.image:
        record({"event": "image", "image": process.image})
    record(observing.granted(resolved.profile.filesystem, started.spec.mounts, own_code, hosts, learn=options.learn))
    if given is None or process.egress is None:
        return record
    from mcpbox import network

    gateway = network.open_gateway(process, resolved, given, record, learn=options.any_host)
    stack.callback(gateway.close)
    if options.any_host:
        stack.callback(lambda: network.tell_learned(gateway, resolved, given))
    if options.learn:
        stack.callback(lambda: record(observing.endpoints(gateway.used)))
    return record


def _messenger(started: _Started, options: Options) -> Session:
    from mcpbox import wire

    return wire.session(
        started.resolved, started.spec, name=started.name, host=options.host, image=started.process.image
    )


def _import_relay() -> None:
    """What nobody needs before the server runs, and takes 5 ms to import."""
    from mcpbox import relay, wire  # noqa: F401
    from mcpbox.trail import observing  # noqa: F401


def _recorder(log: Log, redacted: Callable[[Any], Any]) -> relay.Recorder:
    """What puts events on record without the secrets that are held."""
    if redacted is _same:
        return log.record
    full = log.full

    def record(event: Mapping[str, Any], content: Any = None) -> None:
        # A keyed digest tells nothing of them.
        log.record(redacted(event), redacted(content) if full else content)

    return record


def _same(value: Any) -> Any:
    return value


def _tend(log: Log) -> None:
    """Clean up what earlier crashes left, and then see to this session's record."""
    sessions.reap()
    log.watch()


class _Choice:
    """The profile and the backend for a server, which is known by its identities before anything else of it."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._found: dict[tuple[str, ...], profile.Resolved] = {}

    def resolved(self, identities: tuple[str, ...]) -> profile.Resolved:
        if identities not in self._found:
            self._found[identities] = profile.resolve(self._options.profile, identities)
        return self._found[identities]

    def backend(self, identities: tuple[str, ...]) -> str:
        return sandbox.choose(self._options.backend or self.resolved(identities).profile.sandbox.backend)


def _search_path(argv: Sequence[str], options: Options) -> str:
    """Where to look for the command: a host that the desktop starts has not the PATH of the user's shell."""
    own = os.environ.get("PATH", os.defpath)
    if not (options.host and options.name):
        return own
    from mcpbox import registered

    known = registered.path_for(options.host, options.name, argv)
    return own if known is None else os.pathsep.join(dict.fromkeys(f"{known}{os.pathsep}{own}".split(os.pathsep)))


def _command(
    argv: Sequence[str], choice: _Choice, home: Path, cwd: Path, path: str, deadline: float
) -> command.Command:
    """The command to run. A package that is seen for the first time is prepared, if that is done by ``deadline``."""

    def resolve() -> command.Command:
        return command.resolve(argv, path=path, cwd=str(cwd), home=str(home), backend=choice.backend)

    try:
        return resolve()
    except Unprepared as missing:
        from mcpbox.packages import firstuse

        firstuse.ensure(missing, deadline)
        return resolve()


def _passed(names: Sequence[str]) -> dict[str, str]:
    """Those of the named variables that the host has set. Raises UsageError for one that must not be passed on."""
    for name in names:
        if not profile.is_settable(name):
            raise UsageError(
                f"the variable {name!r} cannot be passed on to the server", f"accepted: {profile.SETTABLE}"
            )
    return {name: os.environ[name] for name in names if name in os.environ}


def _cwd() -> Path:
    try:
        return Path.cwd()
    except OSError:
        return Path("/")
