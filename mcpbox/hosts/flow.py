"""Lists and tables between brackets, their members separated by commas: JSON, YAML flow, TOML arrays. No I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mcpbox.hosts.document import Edit

_LINE_END = re.compile(r"\r\n|\n|\r")
_BLANK = re.compile(r"[ \t]*+")


class Flow:
    """The text between ``open``, just behind the bracket, and ``close``, the place of the other one.

    ``spans`` are those of the members, keys included. ``space`` matches white space and comments one at a time, a
    comment as its group 1.
    """

    def __init__(
        self, text: str, open: int, close: int, spans: Sequence[tuple[int, int]], space: re.Pattern[str]
    ) -> None:
        self.text = text
        self.open = open
        self.close = close
        self.spans = spans
        self.space = space

    def prepend(self, items: Sequence[str]) -> list[Edit]:
        if not self.spans:
            return [Edit(self.open, self.open, ", ".join(items))]
        start = self.spans[0][0]
        separator = "," + (self._new_line(0) or self._behind_comma())
        return [Edit(start, start, "".join(item + separator for item in items))]

    def withdraw(self, count: int) -> list[Edit]:
        if count == len(self.spans):
            return self._all()
        edits = []
        for index in range(count):
            start, end = self.spans[index]
            edits += [Edit(start, end, ""), self._comma_and_space(index)]
        return _merged(edits)

    def insert(self, index: int, member: str) -> list[Edit]:
        if index < 0:
            return [Edit(self.open, self.open, member)]
        end = self.spans[index][1]
        comma = self._comma(index)
        space = self._new_line(index)
        if not space:
            space = self._behind_comma()
            if comma is None:
                return [Edit(end, end, f",{space}{member}")]
            return [Edit(comma + 1, comma + 1, f"{space}{member},")]
        # What is said behind a member on its line is about that member.
        if comma is not None:
            at = self._line_comments(comma + 1)
            return [Edit(at, at, f"{space}{member},")]
        at = self._line_comments(end)
        return _merged([Edit(end, end, ","), Edit(at, at, space + member)])

    def remove(self, index: int) -> list[Edit]:
        if len(self.spans) == 1:
            return self._all()
        start, end = self.spans[index]
        comma = self._comma(index)
        if index == 0:
            return _merged([Edit(start, end, ""), self._comma_and_space(0)])
        member = Edit(self._space_before(index, index), end, "")
        if comma is not None:
            return _merged([member, Edit(comma, comma + 1, "")])
        before = self._comma(index - 1)
        assert before is not None
        return _merged([Edit(before, before + 1, ""), member])

    def _all(self) -> list[Edit]:
        """Every member goes, and with the first the space before it: an empty container is written to behind its
        bracket."""
        edits = []
        for index, (start, end) in enumerate(self.spans):
            comma = self._comma(index)
            edits.append(Edit(start if index else self._space_before(0, len(self.spans) - 1), end, ""))
            if index + 1 < len(self.spans):
                edits.append(self._comma_and_space(index))
            elif comma is not None:
                edits.append(Edit(comma, comma + 1, ""))
        return _merged(edits)

    def _comma(self, index: int) -> int | None:
        """The place of the comma behind a member; the last one may have none."""
        at, _ = self._skip(self.spans[index][1])
        return at if self.text.startswith(",", at) else None

    def _comma_and_space(self, index: int) -> Edit:
        comma = self._comma(index)
        assert comma is not None
        at = comma + 1
        while (found := self.space.match(self.text, at)) and not found[1]:
            at = found.end()
        return Edit(comma, at, "")

    def _space_before(self, index: int, last: int) -> int:
        """Where the white space right before a member begins that can go with the members up to ``last``."""
        behind = self._behind(index)
        at = self._skip(behind)[1]
        end, comma = self.spans[last][1], self._comma(last)
        # A comment up to the line's end needs that end, unless another one follows.
        follows = end + 1 if comma == end else end
        if at == behind or self.text.endswith("*/", behind, at) or self.text[follows] in "\r\n":
            return at
        return self.spans[index][0]

    def _behind(self, index: int) -> int:
        """The place behind the comma or the bracket before a member."""
        if index == 0:
            return self.open
        comma = self._comma(index - 1)
        assert comma is not None
        return comma + 1

    def _skip(self, at: int) -> tuple[int, int]:
        """The ends of the white space and comments at a place, and of the last comment among them."""
        comment = at
        while found := self.space.match(self.text, at):
            at = found.end()
            if found[1]:
                comment = at
        return at, comment

    def _line_comments(self, at: int) -> int:
        """The end of the comments at a place, if nothing else follows on the line; else the place itself."""
        behind = last = at
        while found := self.space.match(self.text, at):
            if not found[1] and _LINE_END.search(found[0]):
                return last
            at = found.end()
            if found[1]:
                last = at
                if _LINE_END.search(found[0]):
                    return last
        return last if at == self.close else behind

    def _new_line(self, index: int) -> str:
        """The line end and the indentation that set a member on a line of its own; "" if it is not."""
        start = self.spans[index][0]
        ends = list(_LINE_END.finditer(self.text, self._behind(index), start))
        if not ends:
            return ""
        indent = _BLANK.match(self.text, ends[-1].end())
        assert indent is not None
        return ends[-1][0] + indent[0]

    def _behind_comma(self) -> str:
        """The space behind commas, learnt from the first one."""
        if len(self.spans) < 2:
            return " "
        start = self._behind(1)
        blank = _BLANK.match(self.text, start)
        assert blank is not None
        return blank[0] if blank.end() == self.spans[1][0] else " "


def _merged(edits: Sequence[Edit]) -> list[Edit]:
    """Edits in their order, those that touch made one."""
    merged: list[Edit] = []
    for edit in edits:
        if merged and merged[-1].end == edit.start:
            merged[-1] = Edit(merged[-1].start, edit.end, merged[-1].text + edit.text)
        else:
            merged.append(edit)
    return merged
