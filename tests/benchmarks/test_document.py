"""docs/performance.md has a place for the answer to each question."""

from benchmarks import document
from benchmarks.__main__ import QUESTIONS


def test_each_answer_has_its_place() -> None:
    text = document.DOCUMENT.read_text()

    assert all(f'<!-- {name} -->\n' in text for name in ('machine', *QUESTIONS))
    assert text.count('<!-- end -->') == len(QUESTIONS) + 1
