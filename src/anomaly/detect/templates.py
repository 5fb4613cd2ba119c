"""The templates of one group's log lines: which signatures (`decode.log_mask`) are one kind of line.

A signature is a line without what is plainly a parameter. Its words stay as they are until enough lines show that one is a
parameter too: where VARIETY lines agree in half of their words or more, what they differ in becomes a wildcard. So `login
failed` and `login succeeded` stay two, and a thousand users make one `login of <*>`. Words that hold a number or a path
(`/tmp/part-<*>`) may differ without more ado.
A template's name is its text when it was born, and stays; what it matches only widens. Compared are lines of one level, as
many words and one first word.
Sources: P. He et al., "Drain: An Online Log Parsing Approach with Fixed Depth Tree", ICWS 2017, for the tree and the share
of equal words; that it waits for variety is ours, as Drain puts any two lines together that agree in half of their words.
Weak where a line has a varying number of words: each number is a template, or a dozen, until the limit.
"""

from itertools import pairwise

WILD = "<*>"
SIMILAR = 0.5  # share of words that lines of one template have in common
VARIETY = 8  # lines alike but for some words, from which on these words are parameters
NEAREST = 200  # templates of a leaf that a new line is compared with, the newest first

Tokens = list[str]
Leaf = tuple[str, int, str]


class Templates:
    """Numbers of templates by signature; the caller gives the numbers, and keeps the names."""

    def __init__(self) -> None:
        self.tokens: dict[int, Tokens] = {}  # as the template matches now
        self.of: dict[int, Leaf] = {}
        self._leaves: dict[Leaf, list[int]] = {}

    def __len__(self) -> int:
        return len(self.tokens)

    def match(self, level: str, text: str) -> int | None:
        """The template of a signature; widened to match it if need be. None: it needs a new one."""
        tokens = text.split(" ")
        near = self._near(leaf(level, tokens), tokens)
        for number in near:
            if fits(self.tokens[number], tokens):
                return number
        alike = [(n, same(self.tokens[n], tokens)) for n in near]
        loose = [(s, -n) for n, s in alike if s and are_parameters(self.tokens[n], tokens)]
        if not loose:
            return None
        number = -max(loose)[1]
        self.tokens[number] = together([self.tokens[number], tokens])
        return number

    def words(self, level: str, text: str) -> str:
        """What a new template for a signature matches: more than the text where lines like it have shown their variety."""
        tokens = text.split(" ")
        alike = [self.tokens[n] for n in self._near(leaf(level, tokens), tokens) if same(self.tokens[n], tokens)]
        wide = together([*alike, tokens])
        if len(alike) + 1 >= VARIETY and 2 * wide.count(WILD) <= len(tokens) + 2 * tokens.count(WILD):
            tokens = wide
        return " ".join(tokens)

    def put(self, number: int, level: str, words: str) -> None:
        """A template that matches these words; of several the older first. It lies where its words lead."""
        tokens = words.split(" ")
        where = leaf(level, tokens)
        self.tokens[number], self.of[number] = tokens, where
        self._leaves.setdefault(where, []).append(number)

    def drop(self, number: int) -> None:
        """Forget a template."""
        where = self.of.pop(number)
        self._leaves[where].remove(number)
        del self.tokens[number]

    def _near(self, where: Leaf, tokens: Tokens) -> list[int]:
        """Templates that a line may belong to, those with fewest wildcards first, so that what is known best counts."""
        found = self._leaves.get(where, [])[-NEAREST:]
        return sorted(found, key=lambda n: (self.tokens[n].count(WILD), n))


def leaf(level: str, tokens: Tokens) -> Leaf:
    """Where in the tree a line belongs."""
    return level, len(tokens), "" if is_parameter(tokens[0]) else tokens[0]


def is_parameter(token: str) -> bool:
    """Whether a word may be any other."""
    return WILD in token or "/" in token


def fits(template: Tokens, tokens: Tokens) -> bool:
    """Whether a template matches a line."""
    return all(a in (b, WILD) for a, b in zip(template, tokens, strict=True))


def same(template: Tokens, tokens: Tokens) -> float:
    """The share of words in common, 0 below SIMILAR."""
    share = sum(a in (b, WILD) for a, b in zip(template, tokens, strict=True)) / len(tokens)
    return share if share >= SIMILAR else 0.0


def are_parameters(template: Tokens, tokens: Tokens) -> bool:
    """Whether a template and a line differ in nothing but words that may be any."""
    return all(a in (b, WILD) or (is_parameter(a) and is_parameter(b)) for a, b in zip(template, tokens, strict=True))


def together(lines: list[Tokens]) -> Tokens:
    """What lines have in common, and wildcards for the rest."""
    return [column[0] if all(a == b for a, b in pairwise(column)) else WILD for column in zip(*lines, strict=True)]
