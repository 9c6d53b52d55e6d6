"""What a command shows and asks.

Results go to standard output, all else to standard error. What clients stored is shown to
people without control characters, which could change what their terminal shows.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from marconi_api.commands.failures import CommandFailed, Declined, WrongUse


def show(text: str) -> None:
    """Print a result; where nobody reads it any more, go on without a word.

    :raises CommandFailed: if it cannot be written for another reason, as on a full disk
    """
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(text + '\n')
        sys.stdout.flush()
    except BrokenPipeError:
        stop_showing()
    except OSError as error:
        stop_showing()
        raise CommandFailed(f'cannot write the result: {error.strerror}') from None


def stop_showing() -> None:
    """Drop what is still to be written, which Python would complain of at its end."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def show_json(document: Any) -> None:
    """Print one JSON document in one line."""
    show(msgspec.json.encode(document).decode())


def show_table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table; the last column is cut where the terminal ends, if it is one."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    is_number = [
        all(isinstance(row[place], int | None) for row in rows) for place in range(len(headings))
    ]
    width = _terminal_width()
    for line in (list(headings), *cells):
        padded = [
            cell.rjust(size) if right else cell.ljust(size)
            for cell, size, right in zip(line, widths, is_number, strict=True)
        ]
        text = '  '.join(padded).rstrip()
        show(text if width is None or len(text) <= width else text[: width - 1] + '…')


def tell(text: str) -> None:
    """Say something beside the result, in one line."""
    # Nobody may be there to read it.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(printable(text) + '\n')
        sys.stderr.flush()


def confirm(question: str, is_answered: bool) -> None:
    """Ask before much is changed, unless ``--yes`` answered that already.

    :raises WrongUse: if there is nobody to ask
    :raises Declined: if the answer is no
    """
    if is_answered:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise WrongUse(f'{question} Add --yes to do it, as there is no terminal to ask at')
    sys.stderr.write(printable(f'{question} [y/N] '))
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ('y', 'yes'):
        raise Declined('nothing was changed')


@contextlib.contextmanager
def progress(total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error, if that is a terminal; yields what moves it on."""
    # Few commands show one.
    from tqdm import tqdm

    with tqdm(total=total, unit=f' {unit}', leave=False, disable=None) as bar:
        yield lambda count: bar.update(count) and None


def time_text(time: datetime) -> str:
    """A time in UTC, as the API writes times."""
    return time.astimezone(UTC).strftime('%Y-%m-%dT%H:%M:%SZ')


def printable(text: str) -> str:
    """The text in one line, its control characters written as Python writes them."""
    return ''.join(
        character if character.isprintable() else character.encode('unicode_escape').decode()
        for character in text
    )


def _cell(value: Any) -> str:
    return '-' if value is None else printable(str(value))


def _terminal_width() -> int | None:
    """Characters in a line of the terminal; None if the result does not go to one."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError, AttributeError):
        return None
