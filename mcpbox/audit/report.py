"""What ``verify`` tells of the audit, and what it holds the audit against. No I/O."""

from __future__ import annotations

from msgspec import Struct, field

from mcpbox.audit.ledger import Place

#: Problems told of one chain, and in all.
MAX_OF_ONE, MAX_PROBLEMS = 10, 1000


class Problem(Struct, frozen=True):
    """Something that mcpbox did not write so. ``seq`` is a line's number in the chain, -1 for none; ``session`` is ""
    and ``name`` "ledger" where it is the ledger's."""

    kind: str
    name: str
    session: str
    seq: int
    text: str


class Keys(Struct, frozen=True):
    """What the keyring and this machine remember: the public key, the newest signed place, the keys that have signed;
    ``silent`` is why the keyring did not say."""

    public: str = ""
    newest: Place | None = None
    known: tuple[str, ...] = ()
    silent: str = ""


class Report(Struct):
    """``unsigned`` is the number of the ledger's last lines that no signature covers; ``signed`` says if any is."""

    sessions: int = 0
    records: int = 0
    signed: bool = False
    unsigned: int = 0
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    more: int = 0

    def add(self, kind: str, name: str, session: str, seq: int, text: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(kind, name, session, seq, text))
        else:
            self.more += 1
