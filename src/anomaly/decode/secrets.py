"""What nobody may read in an alert: passwords, tokens, e-mail addresses and card numbers, taken out of a log line.

Done once for each new kind of line, before anything of it is kept. Weak where a secret has neither a name nor a form of its
own; such ones are named by patterns of the configuration (`logs.secrets`).
Source of the check digit: H. P. Luhn, US patent 2,950,048 (1960); ISO/IEC 7812-1, annex B.
"""

import re
from collections.abc import Sequence

HIDDEN = "<secret>"

_NAMED = (
    r"""(?i)((?:\w|-)*(?:passw(?:or)?d|passphrase|pwd|secret|token|api[_-]?key|authorization|credentials?|cookie|"""
    r"""access[_-]?key|private[_-]?key|session[_-]?id)(?:\w|-)*["']?\s*(?:=>|[=:])\s*)"""
    r"""((?:bearer|basic|digest)\s+[^\s"',;]+|"[^"]*"|'[^']*'|[^\s,;&"'}\])]+)"""
)
_CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])")
_RULES = [
    (re.compile(_NAMED), rf"\g<1>{HIDDEN}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}"), rf"\g<1> {HIDDEN}"),
    (re.compile(r"\beyJ[\w-]{6,}\.[\w-]+(?:\.[\w-]*)?"), HIDDEN),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_\w{20,}|\bxox[abprs]-[\w-]{10,}|\bsk-[\w-]{20,}"), HIDDEN),
    (re.compile(r"(?<=://)[^\s/@:]+:[^\s/@]+(?=@)"), HIDDEN),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*", re.DOTALL), HIDDEN),
    (re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), "<email>"),
]


class Secrets:
    """Takes secrets out of texts; `more` are patterns besides the usual ones."""

    def __init__(self, more: Sequence[str] = ()) -> None:
        self._rules = [*[(re.compile(pattern), HIDDEN) for pattern in more], *_RULES]

    def hide(self, text: str) -> str:
        """The text without secrets."""
        for pattern, instead in self._rules:
            text = pattern.sub(instead, text)
        return _CARD.sub(lambda found: "<card>" if has_check_digit(found[0]) else found[0], text)


def has_check_digit(number: str) -> bool:
    """Whether the digits of a number end in the check digit of card numbers."""
    digits = [int(d) for d in reversed(number) if d.isdecimal()]
    return (sum(digits[::2]) + sum(sum(divmod(2 * d, 10)) for d in digits[1::2])) % 10 == 0
