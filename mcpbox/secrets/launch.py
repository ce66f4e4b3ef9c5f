"""What becomes of references to secrets when a server starts: its variables and arguments, if they are meant for it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from msgspec.structs import replace

from mcpbox import paths
from mcpbox.command import Command
from mcpbox.errors import SecretError
from mcpbox.profile import Resolved, is_settable
from mcpbox.sandbox.base import Mount, SandboxSpec
from mcpbox.secrets import PREFIX, arguments, held
from mcpbox.secrets.reference import Reference, references, substitute
from mcpbox.secrets.store import AT_START, open_store

KEYRING = "keyring:"


def identity_of(command: Command) -> tuple[str, ...]:
    """What the program is to the owners of a secret; nothing for code that is given on the command line.

    A package is one that mcpbox installed and verified. Anything else that calls itself so, in a ``node_modules`` of
    its own say, is the file that it is.
    """
    if command.image:
        untagged = re.sub(r"(:[^/:@]+)?(@[^@]*)?$", "", command.image)
        return tuple(dict.fromkeys((f"image:{untagged}", f"image:{command.image}")))
    if command.package:
        return command.identities
    at = len(command.argv) - len(command.arguments)
    program, head = command.argv[0], command.argv[1:at]
    if command.interpreter not in ("node", "python"):
        return _file(program)
    if head[-2:-1] == ("-m",):
        return (f"file:{program}#{head[-1]}",)
    if not head or head[-1].startswith("-") or head[-2:-1] in (("-c",), ("-e",), ("-p",), ("--eval",), ("--print",)):
        return ()
    return _file(head[-1])


def inject(
    spec: SandboxSpec,
    command: Command,
    resolved: Resolved,
    passed: Collection[str],
    remember: Callable[[Mapping[str, Any]], None],
) -> SandboxSpec:
    """The spec with the values of the secrets that its variables, its arguments and the profile name.

    A variable that was passed on (``passed``) goes before the profile's secret. Raises SecretError.
    """
    wanted = {
        name: f"{PREFIX}{place.removeprefix(KEYRING)}"
        for name, place in resolved.profile.required_secrets.items()
        if name not in passed
    }
    variables = {name: text for name, text in {**spec.environment, **wanted}.items() if PREFIX in text}
    words = {word for word in command.argv if PREFIX in word}
    named = sorted({found for text in (*variables.values(), *words) for found in references(text)})
    for name in command.environment:
        if not is_settable(name):
            raise SecretError(f"a server with secrets cannot have {name} set in its command", f"leave out: {name}=…")
    if words & set(command.argv[: len(command.argv) - len(command.arguments)]) or (words and command.image):
        raise SecretError("only an argument of a server of Node or Python can be a secret", arguments.INSTEAD)
    if words:
        spec = _with_preload(spec, command)
    # First the record, then the look: whoever changes the value from now on finds this session and ends it.
    remember({"secrets": [str(reference) for reference in named]})
    held.prepare()
    values = _released(named, identity_of(command))
    secrets = held.Values({name: substitute(text, values) for name, text in variables.items()})
    environment = {name: text for name, text in spec.environment.items() if name not in secrets}
    if words:
        secrets[arguments.VARIABLE] = arguments.variable({word: substitute(word, values) for word in words})
    return replace(spec, environment=environment, secrets=secrets)


def _released(named: list[Reference], identities: tuple[str, ...]) -> dict[Reference, str]:
    store = open_store(seconds=AT_START)
    return {reference: store.release(reference, identities) for reference in named}


def _with_preload(spec: SandboxSpec, command: Command) -> SandboxSpec:
    file = ""
    mounts = spec.mounts
    if command.interpreter == "node":
        file = str(paths.private_file("arguments.cjs", arguments.NODE))
        mounts = (*mounts, Mount(os.path.realpath(file), file))
    words = arguments.command(spec.command, len(command.arguments), command.interpreter, file)
    return replace(spec, command=words, mounts=mounts)


def _file(path: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((f"file:{path}", f"file:{os.path.realpath(path)}")))
