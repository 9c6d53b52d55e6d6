"""Which URLs and addresses a webhook may call, judged without a network."""

import pytest

from marconi_api.errors import InvalidRequest
from marconi_api.webhooks.rules import ForbiddenAddress, Rules
from tests.webhooks import forbidden

RULES = Rules.from_config({'allowed_networks': [], 'allowed_ports': [80, 443, 8080, 8443]})

PUBLIC = (
    ('http://example.com', 'example.com', 80, '/'),
    ('https://Example.COM./a?b=c#d', 'example.com', 443, '/a?b=c'),
    ('http://example.com:8080/', 'example.com', 8080, '/'),
    ('https://bücher.example/', 'xn--bcher-kva.example', 443, '/'),
    ('http://a_b.example/', 'a_b.example', 80, '/'),
    ('http://127.0.0.1.example.com/', '127.0.0.1.example.com', 80, '/'),
    ('http://localhost.example.com/', 'localhost.example.com', 80, '/'),
    ('http://8.8.8.8/', '8.8.8.8', 80, '/'),
    ('http://0x8.8.8.8/', '8.8.8.8', 80, '/'),
    ('http://172.15.255.255/', '172.15.255.255', 80, '/'),
    ('http://172.32.0.1/', '172.32.0.1', 80, '/'),
    ('http://100.63.0.1/', '100.63.0.1', 80, '/'),
    ('http://[2606:4700:4700::1111]/', '2606:4700:4700::1111', 80, '/'),
)


@pytest.mark.parametrize('host', forbidden.HOSTS)
def test_a_forbidden_host_is_refused_in_every_spelling(host: str) -> None:
    with pytest.raises(InvalidRequest):
        RULES.target(f'http://{host}/')


@pytest.mark.parametrize('url', forbidden.URLS)
def test_a_misleading_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest):
        RULES.target(url)


@pytest.mark.parametrize(('url', 'host', 'port', 'path'), PUBLIC)
def test_a_public_url_may_be_called(url: str, host: str, port: int, path: str) -> None:
    target = RULES.target(url)

    assert (target.host, target.port, target.path) == (host, port, path)


def test_the_spelling_of_an_address_does_not_matter() -> None:
    spellings = [*forbidden.LOOPBACK[:4], '2130706433', '0x7f.1', '①②⑦.⓪.⓪.①']

    for host in (spelling for spelling in spellings if not spelling.endswith('..')):
        with pytest.raises(ForbiddenAddress, match=r'127\.0\.\d\.1 must not be called'):
            RULES.target(f'http://{host}/')


def test_the_operator_allows_networks() -> None:
    rules = Rules.from_config(
        {'allowed_networks': ['10.1.0.0/16', 'fd00::/8', '127.0.0.1'], 'allowed_ports': [80]}
    )

    assert rules.target('http://0xa010001/').host == '10.1.0.1'
    assert rules.target('http://[fd00::1]/').authority == '[fd00::1]'
    assert rules.target('http://localhost/').host == 'localhost'
    for host in ('10.2.0.1', '127.0.0.2', '[::ffff:10.1.0.1]'):
        with pytest.raises(ForbiddenAddress):
            rules.target(f'http://{host}/')


def test_the_operator_allows_ports() -> None:
    rules = Rules.from_config({'allowed_networks': [], 'allowed_ports': [9000]})

    assert rules.target('http://example.com:9000/').authority == 'example.com:9000'
    with pytest.raises(InvalidRequest, match='must be one of 9000, not 80'):
        rules.target('http://example.com/')
