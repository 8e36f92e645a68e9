from __future__ import annotations

import pytest

from gateway.dialplan.scanner import Scanner


class WordsError(Exception):
    pass


class Words(Scanner):
    """Letters, and commas between them."""

    fault = WordsError

    def read(self) -> list[str]:
        found = [""]
        while not self._ended():
            if self._take(", "):
                found.append("")
            elif self._peek() == "\\":
                self._next("an escape")
                found[-1] += self._next("an escape")
            else:
                found[-1] += self._next("a word")
        return found


@pytest.mark.parametrize(
    ("text", "words"),
    [("", [""]), ("ab, c", ["ab", "c"]), ("a,b, ", ["a,b", ""]), ("a\\, b", ["a, b"])],
)
def test_a_text_is_read_to_its_end(text: str, words: list[str]) -> None:
    assert Words(text).read() == words


def test_a_text_that_ends_too_early_is_the_fault_of_whoever_reads_it() -> None:
    with pytest.raises(WordsError, match="it ends within an escape"):
        Words("ab\\").read()
