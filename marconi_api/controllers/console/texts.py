"""How values are written on a page."""

import re
from datetime import UTC, datetime
from typing import Any

# Characters that cannot be seen, or that change in which direction others are written. Line
# feeds and tabs do no harm.
_UNSEEN = re.compile(
    '[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u115f\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f'
    '\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]'
)


def visible(value: Any) -> Any:
    """A text whose unseen characters are written out, as JSON does; anything else as it is."""
    if type(value) is not str:
        return '' if value is None else value
    return _UNSEEN.sub(lambda found: f'\\u{ord(found[0]):04x}', value)


def duration(seconds: float | None) -> str:
    """Seconds as people say them, in the two largest units."""
    if seconds is None:
        return '–'
    left = int(seconds)
    parts: list[str] = []
    for unit, size in (('d', 86400), ('h', 3600), ('min', 60), ('s', 1)):
        count, left = divmod(left, size)
        if count or (unit == 's' and not parts):
            parts.append(f'{count} {unit}')
    return ' '.join(parts[:2])


def estimate(seconds: float | None) -> str:
    """Seconds that are known roughly: less than ten of them with a tenth."""
    if seconds is None or seconds >= 10:
        return duration(seconds)
    return f'{seconds:.1f} s'


def number(value: int) -> str:
    """A number with its thousands apart."""
    return f'{value:,}'


def utc(time: datetime) -> str:
    """A time, to the second."""
    return time.astimezone(UTC).strftime('%Y-%m-%d %H:%M:%S')


def clock(seconds: int) -> str:
    """A time of today, in seconds since 1970, to the minute; in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime('%H:%M')
