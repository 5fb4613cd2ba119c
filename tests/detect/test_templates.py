"""Templates of one group: which lines are one kind."""

from anomaly.detect.templates import VARIETY, Templates


def numbers(*texts: str, level: str = "info") -> list[int]:
    tree, found = Templates(), []
    for text in texts:
        number = tree.match(level, text)
        if number is None:
            number = len(tree)
            tree.put(number, level, tree.words(level, text))
        found.append(number)
    return found


def test_words_that_mean_something_are_kept_apart():
    assert numbers("login of <*> failed", "login of <*> succeeded", "login of <*> failed") == [0, 1, 0]


def test_words_that_show_variety_are_parameters():
    names = [
        f"login of {name} failed" for name in ("ada", "bob", "cid", "dot", "eva", "fay", "gus", "hal", "ivy", "joe", "kim")
    ]

    found = numbers(*names, "login of lea failed", "login of ada failed")

    assert found[:VARIETY] == list(range(VARIETY))
    assert set(found[VARIETY - 1 : -1]) == {VARIETY - 1}
    assert found[-1] == 0  # what has a name keeps it


def test_numbers_and_paths_may_differ_without_more_ado():
    assert numbers("open /tmp/a-<*> for job", "open /var/b-<*>/c for job") == [0, 0]


def test_levels_do_not_mix():
    tree = Templates()
    tree.put(0, "info", "stopped")
    assert tree.match("error", "stopped") is None
