"""The last hour of a queue as pictures, which pygal draws.

A picture is a part of its page. It has no style, script or text of its own but numbers: the page's
style sheet colors it, so that it is dark or light as the page is. Its page has a table of the same
figures, for those who cannot see it.
"""

import sys
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import chain, count
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

from marconi_api.controllers.console.texts import clock, duration, number
from marconi_api.model.minutes import Minute, quantile

if TYPE_CHECKING:
    from pygal.graph.graph import Graph

#: The parts of messages that were in the queue for no longer than is shown.
PARTS = (50, 95, 99)

_WIDTH, _HEIGHT = 420, 220

# Between two marks at the side of a picture, in seconds; from the last one on in days, as numbers are.
_TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200)
_DAY = 86400

# Marks above zero, at most, and the least that the last one stands for.
_MOST_MARKS = 5
_LEAST_TOP = 5

# Minutes that a picture has, at least.
_FEWEST = 15

_STATES = ('ready', 'claimed', 'delayed', 'parked')


class Plot(NamedTuple):
    """A picture, and what it shows."""

    title: str
    svg: Markup


class Row(NamedTuple):
    """A minute as a line of the table; what is not known is None."""

    time: str
    came: int
    gone: int
    waited: Sequence[float | None]
    held: Sequence[int | None]
    oldest_age: int | None


def rows_of(minutes: Sequence[Minute]) -> list[Row]:
    """The minutes as a table, the last first."""
    return [
        Row(
            clock(minute.number * 60),
            minute.came,
            minute.gone,
            _waited(minute.handed_out),
            minute.held[:4] if minute.held else (None,) * 4,
            minute.held.oldest_age if minute.held else None,
        )
        for minute in reversed(minutes)
    ]


def waited(minutes: Sequence[Minute]) -> list[tuple[int, float | None]]:
    """For each part, how long these messages were in the queue at most until they were handed out."""
    sums = [
        sum(counts) for counts in zip(*(m.handed_out for m in minutes if m.handed_out), strict=True)
    ]
    return list(zip(PARTS, _waited(sums), strict=True))


def _waited(handed_out: Sequence[int]) -> list[float | None]:
    return [quantile(handed_out, part / 100) for part in PARTS]


# An open page asks again every few seconds; its minutes change once a minute.
@lru_cache(maxsize=64)
def plots_of(minutes: tuple[Minute, ...]) -> list[Plot]:
    """All pictures of a queue, from the first minute on of which anything is known."""
    unknown = next((place for place, one in enumerate(minutes) if one.came or one.held), 60)
    minutes = minutes[min(unknown, len(minutes) - _FEWEST) :]
    held = [minute.held for minute in minutes]
    times = [clock(minute.number * 60) for minute in minutes]
    waits = [_waited(minute.handed_out) for minute in minutes]
    plots: list[tuple[str, bool, bool, dict[str, list[Any]]]] = [
        (
            'Messages by state',
            True,
            False,
            {state: [one and one[place] for one in held] for place, state in enumerate(_STATES)},
        ),
        (
            'Messages in and out, a minute',
            False,
            False,
            {
                'in': [minute.came for minute in minutes],
                'out': [minute.gone for minute in minutes],
            },
        ),
        (
            'Age of the oldest message',
            False,
            True,
            {'oldest': [one and (one.oldest_age or 0) for one in held]},
        ),
        (
            'Time in the queue (estimated)',
            False,
            True,
            {f'{part} %': [wait[place] for wait in waits] for place, part in enumerate(PARTS)},
        ),
    ]
    return [
        Plot(title, _drawn(is_stacked, is_time, times, series))
        for title, is_stacked, is_time, series in plots
    ]


def _marks_up_to(top: float, is_time: bool) -> list[float]:
    """Round numbers from zero to one that is not below ``top``."""
    top = max(top, _LEAST_TOP)
    decades = (10**power * digit for power in count() for digit in (1, 2, 5))
    steps = chain(_TIME_STEPS, (_DAY * one for one in decades)) if is_time else decades
    step = next(step for step in steps if step * _MOST_MARKS >= top)
    return [float(step * place) for place in range(ceil(top / step) + 1)]


def _whole(value: float) -> str:
    return number(round(value))


def _drawn(
    is_stacked: bool,
    is_time: bool,
    times: list[str],
    series: dict[str, list[Any]],
) -> Markup:
    pygal = load()
    tops = zip(*series.values(), strict=True)
    marks = _marks_up_to(
        max((sum if is_stacked else max)(value or 0 for value in top) for top in tops), is_time
    )
    chart: Graph = (pygal.StackedLine if is_stacked else pygal.Line)(
        width=_WIDTH,
        height=_HEIGHT,
        margin=8,
        js=[],
        css=[],
        classes=('plot',),
        fill=is_stacked,
        # What is not known is left out; a minute between two such ones is seen as a dot.
        allow_interruptions=True,
        show_dots=any(None in one for one in series.values()),
        dots_size=1.5,
        show_minor_x_labels=False,
        x_labels_major_every=max(1, len(times) // 4),
        truncate_label=-1,
        include_x_axis=True,
        range=(0, marks[-1]),
        legend_at_bottom=True,
        legend_at_bottom_columns=len(series),
        value_formatter=duration if is_time else _whole,
    )
    chart.x_labels = times
    chart.y_labels = marks
    for name, one in series.items():
        chart.add(name, one)
    return _bare(chart)


@cache
def load() -> Any:
    """The library, which takes a tenth of a second to import: most processes never draw."""
    finders = list(sys.meta_path)
    import pygal

    # It leaves one for its plug-ins, of which Python 3.11 warns with each import that fails.
    sys.meta_path[:] = finders
    return pygal


def _bare(chart: 'Graph') -> Markup:
    """The picture alone: without style, script, and texts for a pointer that pygal's script shows."""
    from xml.etree import ElementTree

    tree = ElementTree.fromstring(chart.render(disable_xml_declaration=True))
    for parent in list(tree.iter()):
        for child in list(parent):
            is_for_script = child.get('class', '').endswith('overlay')
            if is_for_script or child.tag.rpartition('}')[2] in ('defs', 'title', 'desc'):
                parent.remove(child)
        for name in ('style', 'id'):
            parent.attrib.pop(name, None)
    tree.attrib['aria-hidden'] = 'true'
    ElementTree.register_namespace('', 'http://www.w3.org/2000/svg')
    return Markup(ElementTree.tostring(tree, encoding='unicode'))
