"""Secrets in arguments: a server of Node or Python finds them in its list of arguments, and no command line has them.

The words keep the references. A few lines that run before the server's own code put the values, which come in one
variable that they remove, into ``process.argv`` or ``sys.argv``. No I/O.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from mcpbox.errors import SecretError

VARIABLE = "MCPBOX_ARGUMENTS"
#: For ``node --require``. Workers and forks of the server load it too, and find nothing to do.
NODE = f"""\
"use strict";
const text = process.env.{VARIABLE};
if (text) {{
  delete process.env.{VARIABLE};
  const values = new Map(Object.entries(JSON.parse(text)));
  process.argv.forEach((word, at) => {{
    if (values.has(word)) process.argv[at] = Buffer.from(values.get(word), "base64").toString();
  }});
}}
"""
#: "-c" puts the working directory first, from which nothing may be imported while the variable is there.
PYTHON = f"""\
def _mcpbox():
    import sys
    own = sys.path[:1] == [""] and sys.path.pop(0)
    import base64, json, os, runpy
    if own is not False:
        sys.path.insert(0, own)
    values = json.loads(os.environ.pop("{VARIABLE}"))
    for at, word in enumerate(sys.argv):
        if word in values:
            sys.argv[at] = os.fsdecode(base64.b64decode(values[word]))
_mcpbox()
del _mcpbox
"""
#: What ``python SCRIPT`` and ``python -m MODULE`` do, after that.
SCRIPT = """
import os, runpy, sys
del sys.argv[0]
if sys.path[0] == "":
    sys.path[0] = os.path.dirname(os.path.realpath(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
MODULE = """
import runpy, sys
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
INSTEAD = "give it to the server in a variable, if it takes it there"


def variable(values: Mapping[str, str]) -> str:
    """The value of VARIABLE: what each word with a reference in it becomes."""
    encoded = {word: base64.b64encode(value.encode(errors="surrogateescape")) for word, value in values.items()}
    return json.dumps({word: data.decode() for word, data in encoded.items()})


def command(argv: tuple[str, ...], own: int, interpreter: str, node_file: str) -> tuple[str, ...]:
    """The command that runs the preload first; ``own`` is how many of its last words are the server's own arguments.

    ``node_file`` is where ``NODE`` is, as the server sees it. Raises SecretError for any other kind of program.
    """
    at = len(argv) - own
    program, head, arguments = argv[0], list(argv[1:at]), argv[at:]
    if interpreter == "node" and head:
        return (program, "--require", node_file, *head, *arguments)
    if interpreter == "python" and head:
        target = head.pop()
        if head[-1:] == ["--"]:
            head.pop()
        if head[-1:] == ["-c"]:
            return (program, *head, PYTHON + target, *arguments)
        code = SCRIPT
        if head[-1:] == ["-m"]:
            head.pop()
            code = MODULE
        return (program, *head, "-c", PYTHON + code, target, *arguments)
    raise SecretError(f"{program} cannot be given a secret in an argument: it is no program of Node or Python", INSTEAD)
