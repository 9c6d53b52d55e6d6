"""How the documents become a site: Sphinx's settings, for `make docs`.

The whole checkout is the source, so that a link between the README and a page of docs/ leads to the
same place here as on a code host. The pages have no directive of Sphinx: NAVIGATION says which there
are. A page that is missing in it, and a link that leads nowhere, are warnings, and fail the build.

Nothing is asked of another host: Furo has no web fonts, and the search runs in the browser.
"""

import importlib.metadata
from typing import Any

#: The pages below their headings, in the order of the navigation.
NAVIGATION = {
    'Begin': ('docs/first-steps', 'docs/choosing', 'docs/message-life', 'docs/glossary'),
    'Write programs': (
        *('docs/worker', 'docs/workers', 'docs/producer', 'docs/waiting', 'docs/eventing'),
        'docs/fifo',
        'docs/compatibility',
    ),
    'Operate': (
        *('docs/operating', 'docs/commands', 'docs/console', 'docs/metrics', 'docs/tracing'),
        *('docs/poolers', 'docs/reliability', 'docs/performance'),
    ),
    'Security': ('docs/security', 'docs/keystone', 'SECURITY'),
    'Protocol': ('docs/protocol-v2', 'docs/protocol-v1', 'docs/sqs'),
    'Develop': ('docs/architecture', 'CONTRIBUTING', 'CHANGELOG'),
}

project = 'Marconi'
release = importlib.metadata.version('marconi-api')
root_doc = 'README'
extensions = ['myst_parser']
source_suffix = {'.md': 'markdown'}
# Sphinx looks for pages among these alone; the other files of docs/ can be linked to.
include_patterns = ['README.md', 'SECURITY.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'docs/*.md']
nitpicky = True

# Links lead to headings by the names that code hosts give them.
myst_heading_anchors = 4
# Quotes and dashes stay as they were written, as they may be part of a command.
smartquotes = False
highlight_language = 'text'
suppress_warnings = [
    # An example of HTTP shows a request and its reply together, or a path for any queue.
    'misc.highlighting_failure',
    # The tables of docs/performance.md that no run has filled yet.
    'myst.header',
]

html_theme = 'furo'
html_title = 'Marconi'
html_use_index = False
html_copy_source = False
# For it the search would fetch the pages that it found, which a browser does not allow without a server.
html_show_search_summary = False
html_show_copyright = False
templates_path = ['site']
# The site begins at index.html.
html_additional_pages = {'index': 'index.html'}


def setup(app: Any) -> None:
    """Let the first page have the navigation."""
    app.connect('source-read', _add_navigation)


def _add_navigation(app: Any, page: str, source: list[str]) -> None:
    if page != root_doc:
        return
    for heading, pages in NAVIGATION.items():
        listed = ''.join(f'/{name}\n' for name in pages)
        source[0] += f'\n```{{toctree}}\n:hidden:\n:caption: {heading}\n\n{listed}```\n'
