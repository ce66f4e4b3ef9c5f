"""The relay as a program: what a Python has to be given to run it, from the source that is installed here."""

from __future__ import annotations

from pathlib import Path

from mcpbox.egress.rules import Rules

#: In the order in which they need each other.
MODULES = ("dns", "mux", "netns", "stub", "relay")
#: Ports that are listened to whatever the rules say, so that what is denied there is told and not just refused. No
#: server listens to them itself.
TOLD_PORTS = (80, 443)
#: While learning, the ports of what is common: a connection to any other is refused by the kernel, and not seen.
# fmt: off
LEARN_PORTS = (
    20, 21, 22, 25, 80, 110, 119, 143, 389, 443, 465, 587, 636, 853, 873, 989, 990, 993, 995, 1194, 1433, 1521,
    1883, 2049, 2375, 2376, 3000, 3306, 4222, 4317, 4318, 5000, 5222, 5432, 5433, 5671, 5672, 5984, 6333, 6334,
    6379, 6380, 6443, 7000, 7474, 7687, 8000, 8008, 8080, 8081, 8086, 8123, 8443, 8529, 8883, 8888, 9000, 9042,
    9090, 9092, 9200, 9243, 9418, 9443, 10000, 11211, 11434, 15672, 19530, 26257, 27017, 27018, 28015, 50051,
)
# fmt: on
#: Any Python from 3.9 on can be the relay, in an image that has nothing of mcpbox's: the modules travel as arguments.
_START = """
import sys, types
package = sys.modules["mcpbox.egress"] = types.ModuleType("mcpbox.egress")
sys.modules["mcpbox"] = types.ModuleType("mcpbox")
for name, text in zip(sys.argv[1::2], sys.argv[2::2]):
    module = sys.modules["mcpbox.egress." + name] = types.ModuleType("mcpbox.egress." + name)
    setattr(package, name, module)
    exec(compile(text, name + ".py", "exec"), module.__dict__)
package.relay.main()
"""


def arguments() -> tuple[str, ...]:
    """What to give a Python. Nothing of its environment or of its site counts."""
    directory = Path(__file__).parent
    sources = (word for name in MODULES for word in (name, (directory / f"{name}.py").read_text(encoding="utf-8")))
    return ("-I", "-S", "-B", "-c", _START, *sources)


def plan(rules: Rules, *, learn: bool = False) -> dict[str, list[int] | list[str]]:
    """What the relay is to listen to; see ``relay.main``."""
    ports = rules.ports() | frozenset(LEARN_PORTS if learn else TOLD_PORTS)
    localhost = {rule.port for rule in rules.rules if rule.kind == "localhost"}
    return {"ports": sorted(ports), "localhost": sorted(localhost), "networks": list(rules.networks())}
