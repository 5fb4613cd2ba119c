"""What a text in a configuration can be."""

import re
from urllib.parse import urlsplit


def no_pattern(text: str) -> str:
    """Why a text is no regular expression; "" if it is one."""
    try:
        re.compile(text)
    except re.error as error:
        return str(error)
    return ""


def is_url(text: str) -> bool:
    """Whether this is a URL that can be asked, or posted to."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
