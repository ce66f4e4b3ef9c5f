"""What becomes of references to secrets when a server starts: its variables and arguments, if they are meant for it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
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

#: Options of Node that neither run nor find other code than the script's, and take no word of their own. Of any other
#: it is not known whether the script is the script: "--title" takes the next word, "--import" runs it.
_NODE = re.compile(
    r"--(no-)?(warnings|deprecation|enable-source-maps|expose-gc|jitless|throw-deprecation|pending-deprecation"
    r"|trace-(warnings|deprecation|uncaught|exit|sigint)|network-family-autoselection|insecure-http-parser"
    r"|verify-base-objects|force-context-aware|use-(bundled|openssl|system)-ca|tls-m(in|ax)-v1\.[0-3]"
    r"|experimental-(strip-types|transform-types|vm-modules|modules|json-modules|wasm-modules|import-meta-resolve"
    r"|fetch|websocket|eventsource|sqlite|worker|permission|require-module|detect-module|repl-await"
    r"|global-(navigator|webcrypto|customevent)))"
    r"|--(no-warnings|disable-warning|unhandled-rejections|dns-result-order|stack-trace-limit|stack-size"
    r"|max-(old-space|semi-space|http-header)-size)=[A-Za-z0-9_-]+"
)
#: … and of Python; the last two may have their value in the next word.
_PYTHON = re.compile(r"-[bBdEIOPqsSuv]+|-W[a-z]+(:[^:.]*){0,3}|-X(dev|utf8(=[01])?|faulthandler|no_debug_ranges)")
#: Programs that run whatever code their arguments name.
_RUNNER = re.compile(
    r"((ba|da|z|k|mk|fi|c|tc|a|pw)?sh|busybox|toybox|env|perl|ruby|jruby|php|lua|luajit|tclsh|wish|expect|Rscript|R"
    r"|julia|guile|racket|sbcl|erl|escript|elixir|iex|deno|bun|tsx|ts-node|java|kotlin|scala|groovy|clojure|clj|bb"
    r"|dotnet|mono|wine|wine64|go|cargo|swift|osascript|awk|gawk|mawk|sed|make|find|xargs|timeout|nice|nohup|setsid"
    r"|stdbuf|sudo|doas|nix|nix-shell|conda|mamba|micromamba|poetry|pdm|hatch|rye|pixi|just|docker|podman|ssh)"
    r"[0-9.-]*"
)
#: Images of them, and of whole systems.
_RUNNER_IMAGE = re.compile(
    rf"{_RUNNER.pattern}|node|python|pypy|openjdk|eclipse-temurin|golang|alpine|debian|ubuntu|fedora|rockylinux"
    r"|almalinux|archlinux|centos|buildpack-deps"
)
#: Packages, and scripts of theirs, that run code of others.
_RUNNER_PACKAGE = re.compile(
    r"npm:(tsx|ts-node|esno|vite-node|nodemon|npm|pnpm|yarn|bun|deno)|pypi:(mcp|fastmcp|uvicorn|ipython|poetry|uv)"
)
_RUNNER_SCRIPT = re.compile(
    r".*/node_modules/(tsx|ts-node|esno|vite-node|nodemon|npm|pnpm|yarn)/.*"
    r"|.*/bin/(mcp|fastmcp|uvicorn|ipython|poetry|pdm|hatch|conda)"
)
#: Subcommands and options before a script, without a value.
_PLAIN = re.compile(r"run|exec|start|-[A-Za-z]{1,4}|--[a-z][a-z-]{1,30}")


def identity_of(command: Command) -> tuple[str, ...]:
    """What the program is to the owners of a secret; nothing where its command line says itself what code runs.

    A package is one that mcpbox installed and verified; one that was installed with others, whose code runs with it, is
    "pypi:NAME+OTHER". Anything else that calls itself so, in a ``node_modules`` of its own say, is the file that it is.
    """
    if command.image:
        untagged = re.sub(r"(:[^/:@]+)?(@[^@]*)?$", "", command.image)
        names = tuple(dict.fromkeys((f"image:{untagged}", f"image:{command.image}")))
        runs = _RUNNER_IMAGE.fullmatch(untagged.rpartition("/")[2])
        return _told(names, command.argv, os.path.isabs) if runs else names
    if command.package:
        names = tuple("+".join((identity, *command.beside)) for identity in command.identities)
        return _told(names, command.arguments) if any(map(_RUNNER_PACKAGE.fullmatch, command.identities)) else names
    at = len(command.argv) - len(command.arguments)
    program, head = command.argv[0], list(command.argv[1:at])
    if command.interpreter not in ("node", "python"):
        return _other(program, command.argv[1:])
    module = head[-2:-1] == ["-m"]
    if not head or (head[-1].startswith("-") and not module):
        return ()
    target = head.pop()
    if module or head[-1:] == ["--"]:
        head.pop()
    if not _harmless(command.interpreter, head):
        return ()
    if module:
        return (f"file:{program}#{target}",)
    runs = _RUNNER_SCRIPT.fullmatch(os.path.realpath(target))
    return _told(_file(target), command.arguments) if runs else _file(target)


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
    if command.interpreter == "python" and "-m" in command.argv[: len(command.argv) - len(command.arguments)]:
        # It looks for the module, and for what that imports, in the working directory first: in whatever project the
        # host has open.
        spec = replace(spec, environment={**spec.environment, "PYTHONSAFEPATH": "1"})
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


def _harmless(interpreter: str, options: list[str]) -> bool:
    """Whether an interpreter with these options runs its script or module, and nothing else."""
    if interpreter == "node":
        return all(map(_NODE.fullmatch, options))
    words = iter(options)
    return all(_PYTHON.fullmatch(word + next(words, "") if word in ("-W", "-X") else word) for word in words)


def _is_file(word: str) -> bool:
    return os.path.isabs(word) and os.path.isfile(word)


def _other(program: str, words: Sequence[str]) -> tuple[str, ...]:
    """A program is its file; one that runs what it is told to is what it is told, up to the first file."""
    if not any(_RUNNER.fullmatch(os.path.basename(path)) for path in (program, os.path.realpath(program))):
        return _file(program)
    if words and _is_file(words[0]):
        return _file(words[0])
    return _told((f"file:{program}",), words)


def _told(names: tuple[str, ...], words: Sequence[str], ends: Callable[[str], bool] = _is_file) -> tuple[str, ...]:
    """The names with what the program is told to run, which is its arguments up to the first file.

    Nothing where there is none, or where a word before it might be a secret, which has no place in a name.
    """
    at = next((at for at, word in enumerate(words) if ends(word)), None)
    if at is None or not all(map(_PLAIN.fullmatch, words[:at])):
        return ()
    return tuple(f"{name}#{' '.join(words[: at + 1])}" for name in names)


def _file(path: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((f"file:{path}", f"file:{os.path.realpath(path)}")))
