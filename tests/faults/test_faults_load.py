"""What is wrong with a service under too much load is told."""

from faults.load import Outcome, Phase

TAKEN = b'HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n'
REFUSED = b'HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n'


def phase(*answers: bytes, seconds: float = 0.1) -> Phase:
    made = Phase('phase')
    made.seconds = 1.0
    for head in answers:
        made.note(head, seconds)
    return made


def faults(overload: Phase, after: float = 100, afterwards: Phase | None = None) -> list[str]:
    return list(Outcome(phase(TAKEN), overload, afterwards or phase(TAKEN), 100, after).faults())


def test_what_cannot_be_taken_may_be_refused() -> None:
    assert faults(phase(TAKEN, REFUSED)) == []


def test_a_refusal_says_when_to_come_again() -> None:
    [fault] = faults(phase(TAKEN, REFUSED.replace(b'Retry-After', b'Other')))

    assert 'Retry-After' in fault


def test_each_request_has_an_answer() -> None:
    [fault] = faults(phase(TAKEN, b''))

    assert 'besides' in fault


def test_what_is_taken_does_not_take_much_longer() -> None:
    [fault] = faults(phase(TAKEN, seconds=0.5))

    assert 'p99' in fault


def test_memory_does_not_grow() -> None:
    [fault] = faults(phase(TAKEN), after=200)

    assert 'memory' in fault


def test_a_service_recovers() -> None:
    [fault] = faults(phase(TAKEN), afterwards=phase())

    assert 'recovered' in fault
