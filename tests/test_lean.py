from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
from mcpbox.lean import import_lean
import_lean()
absent = {"textwrap", "platform", "urllib.parse", "typing_extensions"}
assert not absent & set(sys.modules), absent & set(sys.modules)
from pathlib import Path
import msgspec.json
assert Path("/a b").as_uri() == "file:///a%20b"
class Documented(msgspec.Struct):
    '''
    What it is.

    And more of it.
    '''
    size: int
text = msgspec.json.schema(Documented)["$defs"]["Documented"]["description"]
assert text == "What it is.\\n\\nAnd more of it.", text
import platform, textwrap, urllib.parse, uuid
assert platform.system() == platform.uname().system and urllib.parse.quote("a b") == "a%20b"
assert textwrap.dedent(" x") == "x" and type(textwrap) is type(sys)
id = uuid.uuid4()
assert msgspec.json.decode(msgspec.json.encode(id), type=uuid.UUID) == id
"""


def test_what_was_left_out_is_there_for_whoever_asks() -> None:
    subprocess.run([sys.executable, "-c", CODE], check=True)


def test_what_was_there_before_stays() -> None:
    code = "import sys, textwrap, platform, urllib.parse; from mcpbox.lean import import_lean; import_lean(); "
    check = "assert sys.modules['textwrap'] is textwrap and sys.modules['platform'] is platform"
    subprocess.run([sys.executable, "-c", code + check], check=True)
