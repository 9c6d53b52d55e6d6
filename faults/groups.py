"""The places of messages in the groups of FIFO queues: a group's name, and the message's number in it."""

from collections.abc import Iterator, Sequence


def place_in(group: str, sequence: str) -> str:
    """The place of a message; places of a group are in the order of its messages. '' if it has none."""
    return f'{group} {sequence:>020}' if group and sequence else ''


def group_of(place: str) -> str:
    """The group of a place."""
    return place.rpartition(' ')[0]


def out_of_line(places: Sequence[str]) -> Iterator[str]:
    """What is wrong with the order of the messages of a claim."""
    last: dict[str, str] = {}
    for place in places:
        before = last.get(group_of(place), '')
        if place < before:
            yield f'one claim was given {place} after {before}'
        last[group_of(place)] = place
