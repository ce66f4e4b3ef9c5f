"""Drafts of profiles: what was found stands in comments, so nothing is allowed but what a person uncomments. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mcpbox.shown import plain

if TYPE_CHECKING:
    from mcpbox.packages.survey import Survey

EMPTY = """version = 1
name = "{name}"
description = {description}
matches = [{matches}]{note}
{found}
[sandbox]
backend = "auto"              # auto | docker | bubblewrap
memory = "512MiB"
cpus = 1.0
pids = 128
scratch = "64MiB"             # /tmp and $HOME, in memory, gone afterwards

[filesystem]
read = []                     # host paths the server may read, such as "~/projects"
write = []                    # … and write
arguments = "none"            # none | read | write: what an argument naming a path gets mounted as
state = false                 # true: a private directory that survives, at $HOME/.state
{paths}
[network]
allow = [                     # "HOST[:PORT]", "*.DOMAIN", "localhost:PORT"
{hosts}]
from_environment = [          # variables whose value names a host that you choose
{endpoints}]
from_arguments = false        # true: arguments that are URLs do; or options that do, such as ["--host"]
connections = 256             # at a time
max_bytes = "16GiB"           # of a session
idle_seconds = 3600           # of a connection

[environment]                 # not secret; besides PATH, HOME, LANG, TZ and what the host passes
{variables}
[secrets]                     # "host": the host's entry passes it; "keyring:{name}/NAME": mcpbox has it
{secrets}
[tools]                       # globs of names
allow = ["*"]
deny = []                     # tools to be neither listed nor callable
destructive = []              # tools that delete, overwrite or send for good: marked, not hidden
hide = []                     # by the server's own annotations: "destructive", "not-read-only", "open-world"
first = "pin"                 # what the server says of itself the first time: pin | wait (for approval)
new = "block"                 # what it did not say then: block | allow
changed = "block"             # what it now says otherwise: block | allow
scan = "block"                # definitions that instruct the model: off | alert | block
shadowing = "block"           # those that pose as another server's: off | alert | block
# host.cursor = {{ allow = ["read_*"], deny = [] }}     # for one application; it can only narrow
# describe.TOOL = "What the model reads instead of the server's own description."

[resources]                   # globs of URIs
allow = ["*"]
deny = []

[prompts]                     # globs of names
allow = ["*"]
deny = []

[messages]
max_bytes = "16MiB"           # of one message
redact_secrets = true         # what looks like a secret, or is one that mcpbox holds, is masked
personal = "off"              # numbers of cards, accounts and people: off | alert | redact | block
reversible = false            # true: a mask that comes back in an argument of this server is turned back
injection = "annotate"        # instructions in results: off | annotate | block
spotlight = false             # true: texts of results stand between marks that nobody can guess
sampling = "deny"             # what the server may ask of the host: deny | allow
elicitation = "allow"
roots = "intersect"           # only roots inside the mounted paths: deny | intersect | allow
# tool."export_*" = {{ secrets = "block", personal = "block", injection = "block" }}    # for tools of such names

[flows]                       # between the servers of one application
sensitive = []                # tools whose results are sensitive, besides those with secrets in them
arriving = "alert"            # others' sensitive data in what this server is told: off | alert | ask | block

[calls]                       # of tools, in one session; 0 is any number
per_minute = 0
repeats = 0                   # in a row, with the same arguments
sequences = []                # such as {{ after = "read_*", then = "send_*", action = "ask" }}: alert | ask | block

[audit]
content = "digest"            # of arguments and results: digest (keyed) | full
"""
#: How variables are commonly called, by what is in them; the first that fits.
PATH = re.compile(r".*(_PATH|_FILE|_DIR|_DIRECTORY|_FOLDER|_CREDENTIALS)|KUBECONFIG")
ENDPOINT = re.compile(r".*(_URL|_URI|_HOST|_ENDPOINT|_DSN|_SERVER|_CONNECTION_STRING)|DSN|HOST")
SECRET = re.compile(
    r".*(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|_PASS|_PWD|KEY|AUTH|COOKIE|_PAT)S?|.*CREDENTIALS?_JSON"
)
PATH_OPTION = re.compile(r"--.*(path|file|dir|directory|folder|repository|storage)")
MAX_LISTED = 60


def empty(name: str) -> str:
    """A profile that allows nothing."""
    return _fill(name, note='                  # packages this profile is for: "npm:NAME", "pypi:NAME"')


def from_survey(name: str, found: Survey) -> str:
    """A profile that allows nothing, and has all that was found in comments."""
    variables = (*found.variables, *found.hinted)
    paths = [variable for variable in variables if PATH.fullmatch(variable)]
    endpoints = [variable for variable in variables if variable not in paths and ENDPOINT.fullmatch(variable)]
    secrets = [variable for variable in variables if variable not in paths and SECRET.fullmatch(variable)]
    others = set(variables) - {*paths, *endpoints, *secrets}
    options = [option for option in found.options if PATH_OPTION.fullmatch(option)]
    head = (
        f"# Names found in the files of {found.identity} {found.version}, all in comments: uncomment what it needs,\n"
    )
    head += "# nothing else. Code names hosts it never reaches, and can put others together as it runs: try it with\n"
    head += "# mcpbox wrap --learn, and then mcpbox profile suggest.\n"
    if not found.complete:
        head += "# The package is so large that only a part of it was read.\n"
    return _fill(
        name,
        description=json.dumps(plain(found.description).strip()[:120], ensure_ascii=False),
        matches=f'"{found.identity}"',
        found=f"\n{head}",
        hosts="".join(f'    # "{host}",  # {count} times\n' for host, count in list(found.hosts.items())[:MAX_LISTED]),
        paths="".join(
            (
                _lines(f'# from_environment.{variable} = "read"' for variable in paths),
                _lines(f'# from_arguments.{option} = "read"' for option in options),
            )
        ),
        endpoints=_lines(f'    # "{variable}",' for variable in endpoints),
        variables=_lines(f'# {variable} = ""' for variable in sorted(others)),
        secrets=_lines(f'# {variable} = "host"' for variable in secrets),
    )


def _fill(name: str, **parts: str) -> str:
    keys = ("matches", "note", "found", "paths", "hosts", "endpoints", "variables", "secrets")
    return EMPTY.format(**{"description": '""', **dict.fromkeys(keys, ""), **parts, "name": name})


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in list(lines)[:MAX_LISTED])
