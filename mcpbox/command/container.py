"""``docker run … IMAGE``, as users have it: the image is kept, what the options ask of the host is not. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mcpbox.command.model import Command
from mcpbox.errors import UsageError

#: Options that say nothing mcpbox does not do anyway.
PLAIN = {"-i", "--interactive", "-t", "--tty", "-it", "-ti", "--rm", "--init", "--read-only", "-q", "--quiet"}
#: … and those of them with a value.
VALUED = {"--name", "--pull", "--platform", "--label", "-l", "--log-driver", "--restart"}
#: What a profile says instead of an option that grants something.
INSTEAD = {
    "-v": "filesystem.read or filesystem.write",
    "--volume": "filesystem.read or filesystem.write",
    "--mount": "filesystem.read or filesystem.write",
    "--env-file": "[environment]",
    "-m": "sandbox.memory",
    "--memory": "sandbox.memory",
    "--cpus": "sandbox.cpus",
    "--pids-limit": "sandbox.pids",
    "--tmpfs": "sandbox.scratch",
    "--net": "network.allow",
    "--network": "network.allow",
}
#: Why a server does without an option.
NEEDLESS = dict.fromkeys(("-p", "--publish"), "a stdio server needs no published port")


def parse(words: Sequence[str], environment: Mapping[str, str]) -> Command:
    """The words after ``docker run``. Raises UsageError for an option that grants something, naming what to use."""
    variables = dict(environment)
    passed: list[str] = []
    rest = list(words)
    while rest and rest[0].startswith("-"):
        option, joined, value = rest.pop(0).partition("=")
        if option in PLAIN and not joined:
            continue
        if not joined and option in {*VALUED, *INSTEAD, *NEEDLESS, "-e", "--env"}:
            if not rest:
                raise UsageError(f"docker run: {option} needs a value")
            value = rest.pop(0)
        if option in ("-e", "--env"):
            name, given, text = value.partition("=")
            if given:
                variables[name] = text
            else:
                passed.append(name)
        elif option in ("--network", "--net") and value == "none":
            continue
        elif option not in VALUED:
            if instead := INSTEAD.get(option):
                hint = f"use in the profile: {instead}"
            else:
                hint = "leave it out: " + NEEDLESS.get(option, "mcpbox decides that itself")
            raise UsageError(f"docker run {option}: not passed on to the sandbox", hint)
    if not rest:
        raise UsageError("docker run without an image", "accepted: docker run -i --rm IMAGE ARGUMENT…")
    image, *arguments = rest
    return Command(
        tuple(arguments),
        identities=(f"image:{image_name(image)}",),
        arguments=tuple(arguments),
        environment=variables,
        image=image,
        passed=tuple(passed),
    )


def image_name(image: str) -> str:
    """A reference without its tag and digest, and without what ``docker run`` puts in front of it by itself."""
    directory, slash, last = image.partition("@")[0].rpartition("/")
    name = f"{directory}{slash}{last.partition(':')[0]}"
    hub = name.removeprefix("index.docker.io/").removeprefix("docker.io/")
    return hub.removeprefix("library/")
