"""Who a series is."""

import hashlib
from itertools import permutations

import pytest

from anomaly.config.settings import IdentitySettings
from anomaly.decode.identity import Identity, Series, fingerprint, newest
from anomaly.decode.points import Kind

SHOP = {"service.namespace": "shop", "service.name": "checkout", "http.route": "/pay", "k8s.pod.name": "checkout-1"}


def series(attributes: dict[str, str], seed: int = 0, settings: IdentitySettings | None = None) -> Series:
    return Identity(settings or IdentitySettings(), seed).series("m", "s", attributes, Kind.GAUGE)


def test_the_order_of_attributes_does_not_matter():
    assert len({series(dict(order)) for order in permutations(SHOP.items())}) == 1


def test_instance_labels_are_held_apart_and_tell_two_copies_of_one_group_from_each_other():
    one, other = series(SHOP), series(SHOP | {"k8s.pod.name": "checkout-2"})
    assert (one.labels, one.instance) == ((("http.route", "/pay"),), (("k8s.pod.name", "checkout-1"),))
    assert (one.labels, one.group_hash) == (other.labels, other.group_hash)
    assert one.hash != other.hash


def test_ignored_labels_say_nothing():
    assert series(SHOP | {"telemetry.sdk.version": "1.2", "os.type": "linux"}) == series(SHOP)


@pytest.mark.parametrize(
    ("attributes", "group"),
    [
        (SHOP, "shop/checkout"),
        ({"service.name": "checkout", "job": "x"}, "checkout"),
        ({"service.namespace": "shop", "job": "node"}, "node"),  # a namespace alone is no service
        ({"namespace": "prod", "app": "api", "host": "h"}, "prod/api"),
        ({"host": "web-1", "instance": "web-1:9100"}, "web-1"),
        ({"service.name": "", "job": "node"}, "node"),
        ({"color": "red"}, "unknown"),
    ],
)
def test_the_first_alternative_whose_last_label_is_there_names_the_group(attributes: dict[str, str], group: str):
    assert series(attributes).group == group


def test_the_labels_that_place_a_series_are_not_its_labels():
    assert series({"job": "api", "env": "prod", "code": "200"}).labels == (("code", "200"),)


def test_the_environment_is_the_first_that_is_named_or_the_default():
    assert series(SHOP).environment == "default"
    assert series(SHOP | {"env": ""}).environment == "default"
    assert series(SHOP | {"env": "b", "deployment.environment.name": "a"}).environment == "a"


def test_two_environments_never_share_a_group():
    prod, test = series(SHOP | {"env": "prod"}), series(SHOP | {"env": "test"})
    assert prod.group == test.group
    assert (prod.group_hash, prod.hash) != (test.group_hash, test.hash)


def test_the_fingerprint_depends_on_the_seed_and_on_nothing_else_that_runs_it():
    assert series(SHOP, seed=1).hash != series(SHOP, seed=2).hash
    assert fingerprint(1, "a", "b") == fingerprint(1, "a", "b") != fingerprint(1, "ab", "")
    # blake2b of the JSON text, written out: what is stored in a topic today must be found again tomorrow
    digest = hashlib.blake2b(b'["a",[["k","v"]]]', digest_size=8, key=(7).to_bytes(8, "little")).digest()
    assert fingerprint(7, "a", (("k", "v"),)) == int.from_bytes(digest, "little")


def test_kind_and_bounds_do_not_make_another_series():
    identity = Identity(IdentitySettings())
    one = identity.series("m", "s", SHOP, Kind.HISTOGRAM, (1.0,))
    assert one.hash == identity.series("m", "s", SHOP, Kind.GAUGE, (2.0,)).hash


def test_old_and_new_names_of_an_attribute_make_one_series():
    """Also where a sender gives both in a transition; of two old names for one new the second keeps its own."""
    aliases = {"a": "x", "b": "x"}
    assert newest(["a"], aliases) == newest(["a"], aliases) == {"x": "a"}
    assert newest(["a", "x"], aliases) == {"x": "x"}
    assert newest(["b", "a"], aliases) == {"x": "a", "b": "b"}
