"""Reading a pattern from left to right, one character or one word at a time. Pure."""

from __future__ import annotations


class Scanner:
    """What both parsers of regular expressions do; each has a `fault` of its own to raise."""

    fault: type[Exception] = ValueError

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def _peek(self) -> str:
        """The next character, "" at the end."""
        return self._text[self._at : self._at + 1]

    def _take(self, word: str) -> bool:
        """Whether this comes next; then it is behind us."""
        found = self._text.startswith(word, self._at)
        self._at += len(word) if found else 0
        return found

    def _next(self, what: str) -> str:
        """The next character, of `what` there has to be more."""
        character = self._peek()
        if not character:
            raise self.fault(f"it ends within {what}")
        self._at += 1
        return character

    def _ended(self) -> bool:
        return self._at >= len(self._text)
