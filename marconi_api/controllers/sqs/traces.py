"""The trace of a message: AWS's header ``AWSTraceHeader``, and the W3C's ``traceparent``.

Both name a trace and a span. A header of AWS that says no more than that is stored as a ``traceparent``,
so that clients of other doors see the trace, too; ``1-5759e988-bd862e3fe1be46a994272793`` there is
``5759e988bd862e3fe1be46a994272793`` here. Another one is stored as it is.
"""

import re

_HEADER = re.compile(
    'Root=1-([0-9a-f]{8})-([0-9a-f]{24});Parent=([0-9a-f]{16});Sampled=([01])', re.ASCII
)
_LENGTH_OF_TIME = 8


def traceparent_in_header(header: str) -> str | None:
    """The traceparent that says the same as a header of AWS; None if none does."""
    found = _HEADER.fullmatch(header)
    if found is None:
        return None
    seconds, rest, span, sampled = found.groups()
    return f'00-{seconds}{rest}-{span}-0{sampled}'


def trace_header_of(traceparent: str) -> str:
    """The header of AWS that says the same as a traceparent."""
    _, trace, span, flags = traceparent.split('-')
    root = f'1-{trace[:_LENGTH_OF_TIME]}-{trace[_LENGTH_OF_TIME:]}'
    return f'Root={root};Parent={span};Sampled={int(flags, 16) & 1}'
