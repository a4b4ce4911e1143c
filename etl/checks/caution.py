"""Results of checks that need attention although a sync works."""

from __future__ import annotations


class Caution(str):
    """The message of such a result; a plain str is the message of a result without a problem."""

    __slots__ = ()
