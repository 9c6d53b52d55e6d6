"""What keeps Marconi from running, in one line that says what to change."""


class ServiceError(Exception):
    """Marconi cannot run as it is set up; the message is one line that says what to change."""


class EmbeddedPostgresError(Exception):
    """The embedded server cannot be had; the message is one line that says what to change."""
