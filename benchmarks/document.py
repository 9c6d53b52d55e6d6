"""Puts the tables and charts of a run into docs/performance.md.

Usage: python -m benchmarks.document [RESULTS]

What stands between ``<!-- framework -->`` and ``<!-- end -->`` is replaced by the answer to that
question, likewise for the others and for ``machine``; a question that the run did not ask keeps
what is there. Charts are copied to docs/performance/.
"""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name('results')
DOCUMENT = Path(__file__).parent.with_name('docs') / 'performance.md'


def main(results: Path = RESULTS, document: Path = DOCUMENT) -> None:
    """Rewrite the document."""
    found = json.loads((results / 'results.json').read_text())
    charts = document.with_suffix('')
    charts.mkdir(exist_ok=True)
    text = document.read_text()
    text = _filled(text, 'machine', _machine(found['machine']))
    for answer in found['answers']:
        text = _filled(text, answer['name'], _answer(answer, charts.name))
        for chart in answer['charts']:
            shutil.copy(results / chart['file'], charts)
    document.write_text(text)


def _filled(text: str, name: str, content: str) -> str:
    place = re.compile(rf'(<!-- {name} -->\n).*?(<!-- end -->)', re.DOTALL)
    if not place.search(text):
        raise SystemExit(f'no place for {name} in the document')
    return place.sub(lambda found: f'{found[1]}\n{content}\n\n{found[2]}', text)


def _machine(facts: dict[str, str]) -> str:
    return '\n'.join(f'* {name}: {fact}' for name, fact in facts.items())


def _answer(answer: dict[str, Any], directory: str) -> str:
    tables = [table['markdown'] for table in answer['tables']]
    notes = '\n'.join(f'* {note}' for note in answer['notes'])
    charts = [f'![{chart["title"]}]({directory}/{chart["file"]})' for chart in answer['charts']]
    return '\n\n'.join(part for part in (*tables, notes, *charts) if part)


if __name__ == '__main__':
    main(*map(Path, sys.argv[1:]))
