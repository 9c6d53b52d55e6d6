"""The raw requests of the fault campaign: chosen by a seed, and their answers counted."""

from faults.raw import Answers, Request, requests

REQUEST = Request([b'GET / HTTP/1.1\r\n\r\n'])


def test_a_seed_gives_the_same_requests_again() -> None:
    assert list(requests('one', 50)) == list(requests('one', 50))
    assert list(requests('one', 50)) != list(requests('other', 50))


def test_most_requests_are_whole_and_some_are_not() -> None:
    contents = [b''.join(request.pieces) for request in requests('seed', 500)]

    assert sum(b' HTTP/1.1\r\n' in content for content in contents) > 250
    assert any(b' HTTP/1.1\r\n' not in content for content in contents)


def test_each_answer_of_a_connection_is_counted() -> None:
    answers = Answers()
    answers.note(REQUEST, b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 400 No\r\n\r\n')
    answers.note(REQUEST, b'')

    assert dict(answers.statuses) == {200: 1, 400: 1}
    assert (answers.sent, answers.unanswered) == (2, 1)


def test_the_first_request_with_each_status_is_kept() -> None:
    answers = Answers()
    answers.note(REQUEST, b'HTTP/1.1 500 No\r\n\r\n')
    answers.note(Request([b'other']), b'HTTP/1.1 500 No\r\n\r\n')

    assert answers.first == {500: REQUEST}
