"""The site that `make docs` makes of the documents."""

import importlib.util
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from marconi_api.processes.installation import CHECKOUT
from tests.browser import chromium, with_chromium
from tests.running_service import wait_until

DOCS = CHECKOUT / 'docs'

with_sphinx = pytest.mark.skipif(
    importlib.util.find_spec('sphinx') is None, reason='Sphinx is not installed: make docs does'
)

# What the documents link to, and what they are; not the environment and the tests.
NOT_COPIED = shutil.ignore_patterns(
    '.git', '.venv', 'build', 'tests', 'benchmarks', '*.egg-info', '__pycache__', '.*_cache'
)


def settings() -> Any:
    """What docs/conf.py says; nothing of Sphinx is needed for that."""
    spec = importlib.util.spec_from_file_location('settings_of_the_site', DOCS / 'conf.py')
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(source: Path, site: Path) -> 'subprocess.CompletedProcess[str]':
    """Do what `make docs` does."""
    recipe = re.search(r'^\t@\$\(BIN\)/python (-m sphinx .*)$', MAKEFILE, re.MULTILINE)
    assert recipe
    arguments = (
        recipe[1].replace('build/doctrees', f'{site}-doctrees').replace('build/site', str(site))
    )
    return subprocess.run(
        [sys.executable, *arguments.split()], cwd=source, capture_output=True, text=True
    )


MAKEFILE = (CHECKOUT / 'Makefile').read_text()


@pytest.fixture(scope='module')
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of this checkout."""
    path = tmp_path_factory.mktemp('site') / 'site'
    done = build(CHECKOUT, path)
    assert (done.returncode, done.stderr) == (0, '')
    return path


def test_each_page_is_in_the_navigation_once() -> None:
    listed = [page for pages in settings().NAVIGATION.values() for page in pages]

    pages = {f'docs/{path.stem}' for path in DOCS.glob('*.md')}
    assert sorted(listed) == sorted(pages | {'CONTRIBUTING', 'CHANGELOG', 'SECURITY'})


def test_the_picture_of_a_message_s_life_is_that_of_its_source() -> None:
    source = (DOCS / 'message-life.dot').read_text()
    picture = (DOCS / 'message-life.svg').read_text()

    arrows = re.findall(r'^ +(\w+) -> (\w+) ', source, re.MULTILINE)
    drawn = re.findall(r'<title>(\w+)&#45;&gt;(\w+)</title>', picture)
    assert sorted(drawn) == sorted(arrows)
    words = re.findall(r'label="([^"]+)"', source)
    said = ' '.join(re.findall(r'<text [^>]*>([^<]*)</text>', picture)).replace('&#45;', '-')
    for word in words:
        assert word.replace('\\n', ' ') in said.replace('&#39;', "'")


class _Fetched(HTMLParser):
    """The addresses of what a browser asks for when it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag != 'a':
            self.addresses += [given.get(name) or '' for name in ('src', 'href', 'srcset', 'data')]


@pytest.mark.slow
@with_sphinx
def test_no_page_asks_another_host_for_anything(site: Path) -> None:
    pages = list(site.rglob('*.html'))
    fetched = _Fetched()
    for page in pages:
        fetched.feed(page.read_text())
    for sheet in site.rglob('*.css'):
        fetched.addresses += re.findall(r'(?:url\(|@import )[\'"]?([^\'")]*)', sheet.read_text())

    assert len(pages) > 25
    assert [one for one in fetched.addresses if re.match(r'(https?:)?//', one)] == []


@pytest.mark.slow
@with_sphinx
@with_chromium
def test_the_site_is_read_and_searched_without_a_server(site: Path) -> None:
    with chromium() as browser:
        browser.open((site / 'index.html').as_uri())
        wait_until(lambda: browser.run('return location.pathname').endswith('/README.html'))
        browser.open(f'{(site / "search.html").as_uri()}?q=heartbeat')
        wait_until(
            lambda: browser.run('return document.querySelectorAll(".search li a").length') > 0
        )
        found = browser.run(
            'return [...document.querySelectorAll(".search li a")].map(link => link.href)'
        )
        asked, complaints = browser.requests(), browser.complaints()

    assert any('docs/worker.html' in address for address in found)
    # The browser's own first page has addresses of its own kind.
    assert [address for address in asked if re.match('https?:|wss?:', address)] == []
    assert complaints == []


@pytest.mark.slow
@with_sphinx
def test_a_link_that_leads_nowhere_and_a_page_that_nobody_finds_fail(tmp_path: Path) -> None:
    source = tmp_path / 'source'
    shutil.copytree(CHECKOUT, source, ignore=NOT_COPIED)
    with (source / 'docs' / 'tracing.md').open('a') as page:
        page.write('\n[a file](nowhere.md), [a heading](worker.md#nowhere)\n')
    (source / 'docs' / 'alone.md').write_text('# Alone\n')

    done = build(source, tmp_path / 'site')

    assert done.returncode != 0
    for fault in ('tracing.md.*nowhere.md', 'tracing.md.*nowhere', "alone.md.*isn't included"):
        assert re.search(fault, done.stderr)
