"""What nobody may read in an alert: passwords, tokens, e-mail addresses, card and account numbers, out of a log line.

Done once for each new kind of line, before anything of it is kept. A value is known by its name (`password=`), or by a form
of its own. In doubt more is hidden, up to the end of a quoted value, of a list, of a header. Every pattern takes time in
proportion to the line: a name is tried where a word begins, and what was taken is not given back.
Weak where a secret has neither a name nor a form of its own; such ones are named by patterns of the configuration
(`logs.secrets`), as are the names that others use.
Sources of the check digits: H. P. Luhn, US patent 2,950,048 (1960), ISO/IEC 7812-1, annex B; ISO 13616-1, 6 (IBAN).
"""

import re
from collections.abc import Sequence

HIDDEN, CARD, IBAN = "<secret>", "<card>", "<iban>"

_NAME = (
    r"(?>(?<![\w-])[\w-]*?(?:passw(?:or)?d|passphrase|passcode|pwd|secret|token|api[_-]?key|credentials?|access[_-]?key|"
    r"private[_-]?key|session[_-]?id|signature)[\w-]*+)|(?<![\w-])(?:pass|pin|otp|cvv2?|cvc2?|sig)(?![\w-])"
)
# Between a name and its value; both may stand in JSON within JSON.
_SIGN = r"""(?:\\*["']?\s*+(?::=|=>|==?|:)\s*+|\s++(?:is|was)\s++)"""
_QUOTED = r"""(?:\\+"(?:[^"\\]|\\(?!"))*+(?:\\+")?|"(?:[^"\\]|\\.)*+"?|'(?:[^'\\]|\\.)*+'?)"""
_LIST = r"""(?:\[[^\]]*+\]?|\{[^}]*+\}?)"""
_BARE = r"""[^\s,;&"'\\]"""
_VALUE = rf"""(?:{_QUOTED}|{_LIST}{_BARE}*+|{_BARE}++)"""
_PAIRS = r"""(?:\s*+[,;]\s*+[\w-]++=(?:"[^"]*+"?|[^\s,;"']++))*+"""  # what follows in a header or a cookie
_TOKENS = (
    r"\beyJ[\w-]{6,}+(?:\.[\w-]*+)*+|\bA(?:KIA|SIA|GPA|IDA|ROA)[0-9A-Z]{16}|\bgh[pousr]_\w{20,}+|\bgithub_pat_\w{20,}+|"
    r"\bxox[abeoprs]-[\w-]{10,}+|\bxapp-[\w-]{10,}+|\b[spr]k[-_][\w-]{20,}+|\bglpat-[\w-]{16,}+|\bnpm_\w{30,}+|"
    r"\bhf_\w{30,}+|\bAIza[\w-]{30,}+|\bya29\.[\w-]{20,}+|\bSG\.[\w-]{16,}+\.[\w-]{16,}+"
)
_LOCAL = r"(?<![\w.+-])(?:[\w.+-]|(?<=\w)['!#$&*^~](?=\w))++"
_RULES = [
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*", re.DOTALL), HIDDEN),
    (
        re.compile(
            rf"(?i)((?:authorization|cookie)2?{_SIGN})(?:{_QUOTED}|(?:[\w-]++\s++)?(?:[\w-]++=\"[^\"]*+\"?|[^\s,;\"'\\]++){_PAIRS})"
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(rf"(?i)((?:{_NAME}){_SIGN})(?:(?:bearer|basic|digest)\s++)?{_VALUE}"), rf"\1{HIDDEN}"),
    (
        re.compile(rf"(?i)((?<![\w-])(?>--?[\w-]*?(?:passw(?:or)?d|secret|token|api-?key)[\w-]*+)\s++){_VALUE}"),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(?i)\b((?:password|passphrase|secret|token)\s++)(\"[^\"]*+\"?|'[^']*+'?)"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)\b(bearer|basic)\s++[\w.~+/=-]{6,}+"), rf"\1 {HIDDEN}"),
    (re.compile(_TOKENS), HIDDEN),
    (re.compile(r"(?<=://)[^\s/?#\"'<>]*@"), f"{HIDDEN}@"),
    (re.compile(r"(?<![\w/.+-])([\w.+-]++:)[^\s/:\"'<>]+@(?=[\w(\[])"), rf"\1{HIDDEN}@"),
    (re.compile(rf"{_LOCAL}(?<!%40)(?:@|%40)[\w-]++(?:\.[\w-]++)++"), "<email>"),
]
_DIGITS = re.compile(r"(?<![\d.])\d(?:[ -]?\d){12,}+")
_GROUPS = re.compile(r"\d+")
_ACCOUNT = re.compile(r"\b[A-Z]{2}\d\d(?: ?[0-9A-Z]{4}){2,7}+(?: ?[0-9A-Z]{1,3})?\b")
_FEWEST, _MOST = 13, 19  # digits of a card


class Secrets:
    """Takes secrets out of texts; `more` are patterns besides the usual ones."""

    def __init__(self, more: Sequence[str] = ()) -> None:
        self._rules = [*[(re.compile(pattern), HIDDEN) for pattern in more], *_RULES]

    def hide(self, text: str) -> str:
        """The text without secrets."""
        for pattern, instead in self._rules:
            text = pattern.sub(instead, text)
        text = _ACCOUNT.sub(lambda found: IBAN if is_account(found[0]) else found[0], text)
        return _DIGITS.sub(lambda found: without_cards(found[0]), text)


def without_cards(digits: str) -> str:
    """Digits in groups, of which some may be a card: any whole groups that together have the form of one."""
    groups = [m.span() for m in _GROUPS.finditer(digits)]
    for i, (begin, _) in enumerate(groups):
        if digits[begin] not in "23456":  # whoever issues cards
            continue
        for end in (end for _, end in reversed(groups[i : i + _MOST])):
            number = digits[begin:end]
            if _FEWEST <= sum(d.isdecimal() for d in number) <= _MOST and has_check_digit(number):
                return digits[:begin] + CARD + _DIGITS.sub(lambda rest: without_cards(rest[0]), digits[end:])
    return digits


def has_check_digit(number: str) -> bool:
    """Whether the digits of a number end in the check digit of card numbers."""
    digits = [int(d) for d in reversed(number) if d.isdecimal()]
    return (sum(digits[::2]) + sum(sum(divmod(2 * d, 10)) for d in digits[1::2])) % 10 == 0


def is_account(text: str) -> bool:
    """Whether letters and digits have the check digits of an IBAN."""
    plain = text.replace(" ", "")
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1
