"""How often a webhook is tried again: ``_retry_policy`` of a queue's metadata or a subscription.

See docs/protocol-v2.md, 8.
"""

from typing import Any

from marconi_api.errors import InvalidRequest

_NUMBERS = (
    'retries_with_no_delay',
    'minimum_delay_retries',
    'minimum_delay',
    'maximum_delay',
    'maximum_delay_retries',
)
BACKOFF_FUNCTIONS = ('linear', 'arithmetic', 'geometric', 'exponential')

#: What the policy has where it does not say: delays in seconds.
DEFAULT_DELAYS = {'minimum_delay': 5, 'maximum_delay': 30}

# Retries of one kind, and seconds of a delay.
_MOST_RETRIES = 1000
_LONGEST_DELAY = 86400
_LEAST_DIFFERENCE = 10


def check(policy: Any) -> None:
    """Refuse what is not a retry policy; null is one, and says nothing.

    :raises InvalidRequest: in words that name the member
    """
    if policy is None:
        return
    if not isinstance(policy, dict):
        raise InvalidRequest('_retry_policy must be an object.')
    for name, value in policy.items():
        _check_member(name, value)
    least, most = (policy.get(name, value) for name, value in DEFAULT_DELAYS.items())
    if most - least < _LEAST_DIFFERENCE:
        raise InvalidRequest(
            f'_retry_policy: maximum_delay must be {_LEAST_DIFFERENCE} seconds above minimum_delay '
            f'at least; they are {most} and {least}.'
        )


def _check_member(name: str, value: Any) -> None:
    if name in _NUMBERS:
        most = (
            _LONGEST_DELAY if name.endswith('delay') and name in DEFAULT_DELAYS else _MOST_RETRIES
        )
        if type(value) is not int or not 0 <= value <= most:
            raise InvalidRequest(f'_retry_policy: {name} must be an integer from 0 to {most}.')
    elif name == 'retry_backoff_function':
        if value not in BACKOFF_FUNCTIONS:
            raise InvalidRequest(
                f'_retry_policy: {name} must be one of {", ".join(BACKOFF_FUNCTIONS)}.'
            )
    elif name == 'ignore_subscription_override':
        if not isinstance(value, bool):
            raise InvalidRequest(f'_retry_policy: {name} must be true or false.')
    else:
        raise InvalidRequest(
            f'_retry_policy has no member {name[:80]!r}, only {", ".join(_NUMBERS)}, '
            'retry_backoff_function and ignore_subscription_override.'
        )
