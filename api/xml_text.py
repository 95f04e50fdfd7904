"""Text in XML 1.0, which has no control characters but tab and line ends (https://www.w3.org/TR/xml/#charsets)."""

from __future__ import annotations

import re

_NONE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def xml_text(told: str) -> str:
    """Return the text without the characters that XML has not, not even escaped."""
    return _NONE.sub("", told)


def fits_xml(told: str) -> str:
    """Return the text; `ValueError` when XML has not all its characters."""
    if xml_text(told) != told:
        raise ValueError("holds a control character")
    return told
