"""What a run leaves behind: tables in Markdown, all figures in JSON, a chart for each question."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measured import Measured

Cell = str | Measured


@dataclass
class Table:
    """Figures, with a title where an answer has several tables."""

    columns: list[str]
    title: str = ''
    rows: list[list[Cell]] = field(default_factory=list)

    def __str__(self) -> str:
        """As Markdown."""
        # Figures stand at the right.
        numeric = [
            any(isinstance(row[column], Measured) for row in self.rows)
            for column in range(len(self.columns))
        ]
        rule = ['---:' if is_numeric else '---' for is_numeric in numeric]
        lines: list[Sequence[Cell]] = [self.columns, rule, *self.rows]
        table = '\n'.join(f'| {" | ".join(map(str, line))} |' for line in lines)
        return f'**{self.title}**\n\n{table}' if self.title else table


@dataclass
class Chart:
    """Bars side by side: series of values by group; or lines, where groups are numbers."""

    title: str
    axis: str
    series: Mapping[str, Mapping[Any, Measured]]
    lines_over: str = ''


@dataclass
class Answer:
    """What was found out about one question."""

    name: str
    #: How it was measured.
    method: str
    tables: list[Table] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    #: What could not be measured, and what is to be known of a figure.
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """As Markdown."""
        title, _, method = self.method.strip().partition('\n')
        notes = '\n'.join(f'* {note}' for note in self.notes)
        charts = '\n'.join(
            f'![{chart.title}]({file})' for chart, file in zip(self.charts, self.files, strict=True)
        )
        parts = [f'## {title}', method.strip(), *map(str, self.tables), notes, charts]
        return '\n\n'.join(part for part in parts if part) + '\n'

    @property
    def files(self) -> list[str]:
        """The names of its charts."""
        numbers = ['', *(f'-{number}' for number in range(2, len(self.charts) + 1))]
        return [f'{self.name}{number}.svg' for number in numbers[: len(self.charts)]]


def write(directory: Path, answers: list[Answer], facts: Mapping[str, str]) -> None:
    """Write all of it: report.md, results.json and the charts."""
    directory.mkdir(parents=True, exist_ok=True)
    machine = ''.join(f'* {name}: {fact}\n' for name, fact in facts.items())
    intro = (
        'Each figure is the median of interleaved rounds, with the least and the most; a ratio '
        'is taken round by round.'
    )
    text = '\n'.join([f'# Benchmarks\n\n{machine}\n{intro}\n', *map(str, answers)])
    (directory / 'report.md').write_text(text)
    found = {'machine': facts, 'answers': [_plain(answer) for answer in answers]}
    (directory / 'results.json').write_text(json.dumps(found, indent=1, ensure_ascii=False))
    for answer in answers:
        for chart, file in zip(answer.charts, answer.files, strict=True):
            _draw(chart, directory / file)


def _plain(answer: Answer) -> dict[str, Any]:
    def plain(cell: Cell) -> Any:
        if isinstance(cell, str):
            return cell
        found = {name: getattr(cell, name) for name in ('median', 'low', 'high', 'values')}
        return {**found, 'values': list(cell.values)}

    tables = [
        {
            'title': table.title,
            'markdown': str(table),
            'columns': table.columns,
            'rows': [list(map(plain, row)) for row in table.rows],
        }
        for table in answer.tables
    ]
    charts = [
        {'title': chart.title, 'file': file}
        for chart, file in zip(answer.charts, answer.files, strict=True)
    ]
    return {'name': answer.name, 'tables': tables, 'charts': charts, 'notes': answer.notes}


def _draw(chart: Chart, file: Path) -> None:
    import matplotlib as mpl

    # Draws to files, whether or not there is a screen.
    mpl.use('svg')
    from matplotlib import pyplot

    # The same figures make the same file.
    mpl.rcParams['svg.hashsalt'] = 'marconi'
    draw = _lines if chart.lines_over else _bars
    figure = draw(chart, pyplot)
    figure.axes[0].set_title(chart.title)
    figure.savefig(file, bbox_inches='tight', metadata={'Date': None})
    pyplot.close(figure)


def _bars(chart: Chart, pyplot: Any) -> Any:
    groups = list(dict.fromkeys(group for bars in chart.series.values() for group in bars))
    height = 0.8 / len(chart.series)
    figure, axes = pyplot.subplots(
        figsize=(8, 1 + 0.3 * len(groups) * max(1, 0.7 * len(chart.series)))
    )
    for number, (name, bars) in enumerate(chart.series.items()):
        places = [groups.index(group) + (number + 0.5) * height - 0.4 for group in bars]
        values = [measured.median for measured in bars.values()]
        spread = [
            [measured.median - measured.low for measured in bars.values()],
            [measured.high - measured.median for measured in bars.values()],
        ]
        drawn = axes.barh(places, values, height * 0.9, xerr=spread, label=name, ecolor='grey')
        axes.bar_label(
            drawn,
            [f' {value:,.3g}' if value < 100 else f' {value:,.0f}' for value in values],
            fontsize=8,
        )
    axes.set_yticks(range(len(groups)), groups)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(chart.axis)
    if len(chart.series) > 1:
        axes.legend(loc='best')
    return figure


def _lines(chart: Chart, pyplot: Any) -> Any:
    figure, axes = pyplot.subplots(figsize=(8, 4))
    for name, points in chart.series.items():
        axes.plot(list(points), [measured.median for measured in points.values()], 'o-', label=name)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(chart.lines_over)
    axes.set_ylabel(chart.axis)
    axes.legend(loc='best')
    return figure
