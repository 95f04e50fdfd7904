"""What is said when a box's key cannot be used."""


class IdentityError(RuntimeError):
    """The key file or the token cannot be used; the message says how to mend it."""
