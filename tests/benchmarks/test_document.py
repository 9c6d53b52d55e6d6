"""docs/performance.md has a place for the answer to each question."""

import re

from benchmarks import document
from benchmarks.__main__ import QUESTIONS


def test_each_answer_has_its_place() -> None:
    text = document.DOCUMENT.read_text()

    assert all(f'<!-- {name} -->\n' in text for name in ('machine', *QUESTIONS))
    assert text.count('<!-- end -->') == len(QUESTIONS) + 1


def measured(row: str) -> float:
    """The figure that follows, in the first such row of the page."""
    figure, *_ = re.findall(rf'^\| {row}([\d.,]+)', document.DOCUMENT.read_text(), re.MULTILINE)
    return float(figure.replace(',', ''))


def test_the_page_on_choosing_says_roughly_what_was_measured() -> None:
    """If a later run differs, say so in docs/choosing.md, and here."""
    cycles = {
        name: measured(rf'{name} \| [^|]*(?:commit|quorum)[^|]* \| ')
        for name in ('Marconi', 'PGMQ', 'RabbitMQ')
    }

    assert 1.2 < cycles['PGMQ'] / cycles['Marconi'] < 1.8
    assert 2 < cycles['Marconi'] / cycles['RabbitMQ'] < 4
    assert 2000 < measured(r'v2 \| post 1 \| ') < 4500
    assert 1500 < measured(r'v2 \| post 10 \| ') < 3000
    assert measured(r'1000 \| the same service \| \S+ \| ') < 0.2
    assert 1 < measured(r'1000 \| another \| \S+ \| ') < 3
