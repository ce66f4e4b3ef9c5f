"""The entry point: it runs a verb, catches what it raises and exits with its code.

Hosts start ``wrap`` at every session, so its plain form is read here, without click, which takes longer to import than
the rest of mcpbox. Anything else, and every wrong word, is click's: see ``options``.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Sequence
from typing import Any

from mcpbox.errors import McpboxError, UsageError

#: What a directory or a disk says of itself, which is no bug.
REFUSALS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOSPC, errno.EDQUOT)
WRAP_OPTIONS = ("--profile", "--backend", "--name", "--host", "--env")


def plain_wrap(words: Sequence[str]) -> tuple[dict[str, Any], list[str]] | None:
    """The options and the command of ``wrap [--OPTION VALUE]… -- COMMAND…``; None for any other form."""
    if not words or words[0] != "wrap" or "--" not in words:
        return None
    end = words.index("--")
    given = list(zip(words[1:end:2], words[2:end:2], strict=False))
    options = {option[2:]: value for option, value in given if option != "--env"}
    passed = tuple(value for option, value in given if option == "--env")
    if end % 2 == 0 or not {option for option, _ in given} <= set(WRAP_OPTIONS):
        return None
    if len(options) + len(passed) != len(given) or any(value.startswith("-") for _, value in given):
        return None
    if options.get("backend", "auto") not in ("auto", "docker", "bubblewrap"):
        return None
    return {**options, **({"env": passed} if passed else {})}, list(words[end + 1 :])


def main() -> None:
    """Run the command line and exit with the verb's code."""
    _have_standard_streams()
    sys.exit(run(sys.argv[1:]))


def run(words: Sequence[str]) -> int:
    try:
        if read := plain_wrap(words):
            # Everything imported lives as long as the process, so looking for garbage meanwhile is time lost.
            gc.disable()
            from mcpbox import lean

            lean.import_lean()
            from mcpbox import wrap

            options, command = read
            return wrap.run(command, wrap.Options(**options))
        return _parsed(words)
    except McpboxError as error:
        return _failed(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Nobody reads our output any more (``mcpbox ps | head``). As if SIGPIPE had ended us: 0 would pass a check that
        # was broken off, 1 would fail it.
        _drop_output()
        return 141
    except OSError as error:
        if error.errno not in REFUSALS:
            return _bug(error)
        if error.filename is None:
            _drop_output()
            return _failed(McpboxError(f"nothing more can be written: {error.strerror}"))
        return _failed(McpboxError(f"{error.filename}: {error.strerror}", "run: mcpbox doctor"))
    except Exception as error:
        return _bug(error)


def _have_standard_streams() -> None:
    """A host may start us with one of them closed; the next file to be opened would then take its place."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(fd, "w" if fd else "r", closefd=False))


def _drop_output() -> None:
    """Output that cannot be written goes nowhere; Python would try once more at its end, and exit with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _parsed(words: Sequence[str]) -> int:
    import click

    from mcpbox.options import cli

    try:
        # None leaves it to click, which looks for a terminal and not at what that can show.
        colour = False if os.environ.get("TERM") == "dumb" or os.environ.get("NO_COLOR") else None
        return int(cli.main(list(words), prog_name="mcpbox", standalone_mode=False, color=colour) or 0)
    except click.ClickException as error:
        error.show()
        if words[:1] == ["wrap"]:
            from mcpbox import wrap

            wrap.decline(UsageError(error.format_message(), "see: mcpbox wrap --help"))
        return 2
    except click.Abort:
        return 130
    except SystemExit as ended:
        # Click's own, when nobody reads on.
        if ended.code == 1:
            raise BrokenPipeError from None
        raise


def _failed(error: McpboxError) -> int:
    from mcpbox.shown import plain

    said = f"mcpbox: {error.message}" + (f"\n        {error.hint}" if error.hint else "")
    sys.stderr.write("".join(f"{plain(line)}\n" for line in said.split("\n")))
    return error.exit_code


def _bug(error: Exception) -> int:
    """Anything unexpected: one line to the user, the rest to a file."""
    import traceback

    from mcpbox import paths

    text, shown = "".join(traceback.format_exception(error)), f"{type(error).__name__}: {error}"
    if held := sys.modules.get("mcpbox.secrets.held"):
        text, shown = held.redact(text), held.redact(shown)
    try:
        file = paths.private_dir(paths.state_dir()) / "crash.log"
        file.write_text(text)
        where = f"the details are in {file}"
    except (OSError, McpboxError) as failure:
        where = f"the details could not be written ({failure})"
    sys.stderr.write(f"mcpbox: a bug: {shown}; {where}\n")
    return 3
