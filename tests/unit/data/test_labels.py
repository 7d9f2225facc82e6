"""Which labels are one class: two classes are never merged, and none is split by different spellings."""

import pytest

from hyena.data.examples import Examples
from hyena.data.labels import settle_labels
from hyena.errors import InputError


def examples(name: str, labels: list[str]) -> Examples:
    return Examples(lambda i: f"{name}.csv, line {i + 2}", f"{name}.csv", [b"A"] * len(labels), list(labels))


def settle(train: list[str], test: list[str], validation: list[str] | None = None) -> tuple[tuple[str, ...], list[str]]:
    """The classes, and the labels of train afterwards."""
    splits = {"train": examples("train", train), "test": examples("test", test)}
    if validation is not None:
        splits["validation"] = examples("dev", validation)
    return settle_labels(splits), splits["train"].labels


LONG = "9" * 5000


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["10.0", "9.0", "-1.0"], ("-1", "9", "10")),
        (["0.0", "1.", "2.00"], ("0", "1", "2")),
        (["1.500000000000000000e+01", "2.000000000000000000e+00", "-0.0e+00"], ("0", "2", "15")),  # numpy.savetxt
        (["-0.0", "1"], ("0", "1")),
        (["+1", "-1"], ("-1", "+1")),
        (["01", "02"], ("01", "02")),
        (["01", "1"], ("01", "1")),
        (["1e1", "1e2"], ("1e1", "1e2")),
        (["1.0", "a"], ("1.0", "a")),
        (["0.5", "a"], ("0.5", "a")),
        (["Pos", "pos"], ("Pos", "pos")),
        ([LONG, "7", f"1{LONG}"], ("7", LONG, f"1{LONG}")),
        ([f"-{LONG}", "-7", f"{LONG}.0"], (f"-{LONG}", "-7", LONG)),
    ],
)
def test_classes_and_their_order(labels, classes):
    assert settle(labels, labels)[0] == classes


def test_integers_and_whole_floats_are_one_class():
    assert settle(["1.0", "0.0", "1.0"], ["0", "1"]) == (("0", "1"), ["1", "0", "1"])


@pytest.mark.parametrize("label", ["0.5", ".5", "-1.25", "1e-05", "2.50e3"])
def test_numbers_with_a_fraction_are_not_classes(label):
    with pytest.raises(InputError) as caught:
        settle(["0", "1"], ["0", "1"], ["1", label])
    assert str(caught.value) == (
        f"dev.csv, line 3: label '{label}' is a number with a fraction; "
        "expected names or whole numbers (regression is not supported)"
    )


@pytest.mark.parametrize(
    ("label", "other", "how"),
    [
        ("Pos", "pos", "letter case only"),
        ("01", "1", "how the number is written"),
        ("+1", "1", "how the number is written"),
        ("type-1", "type 1", "spaces, punctuation or letter case"),
        ("m²", "m2", "spaces, punctuation or letter case"),
    ],
)
def test_the_error_of_a_missing_label_names_the_most_similar_one(label, other, how):
    with pytest.raises(InputError) as caught:
        settle(["x", label], ["x", other])
    assert str(caught.value) == (
        f"train.csv: class {other!r} has no sequences in the train split, which has {label!r} (different in {how}); "
        "it occurs at test.csv, line 3; expected sequences of every class in train and in test"
    )
    with pytest.raises(InputError) as caught:
        settle(["x", other], ["x", other], ["x", label])
    assert str(caught.value) == (
        f"train.csv: class {label!r} has no sequences in the train split, which has {other!r} (different in {how}); "
        "it occurs at dev.csv, line 3; expected sequences of every class in train and in test"
    )


def test_a_float_among_names_is_similar_to_its_integer():
    with pytest.raises(
        InputError, match=r"class '1' has no sequences in the train split, which has '1\.0' \(different"
    ):
        settle(["a", "1.0"], ["a", "1"])


@pytest.mark.parametrize("other", ["e\u0301", "\u00e9\u200b", "\u00e9\u00a0", "\ufeff\u00e9"])
def test_labels_that_look_the_same_are_an_error(other):
    with pytest.raises(
        InputError, match=r"label '.*' looks like '.*' \(train\.csv, line \d\); use one spelling"
    ) as caught:
        settle(["\u00e9", other], ["\u00e9", other])
    assert ascii(other) in str(caught.value)
    with pytest.raises(InputError, match="use one spelling"):
        settle(["\u00e9", "x"], [other, "x"])


@pytest.mark.parametrize("letter", ["\n", "\t", "\x00", "\x1b", "\u2028", "\x85"])
def test_control_characters_are_refused(letter):
    with pytest.raises(
        InputError, match=r"train\.csv, line 2: the class name .* contains a control character; rename the class"
    ):
        settle([f"a{letter}b", "x"], ["x"])


def test_errors_shorten_long_labels():
    with pytest.raises(InputError) as caught:
        settle([LONG, "1"], ["1"])
    assert len(str(caught.value)) < 300
    assert "(5,000 letters)" in str(caught.value)


@pytest.mark.parametrize(("one", "other"), [("1", "1.0"), ("+1", "1")])
def test_one_number_is_not_two_classes(one, other):
    labels = [one, other, "none"]
    with pytest.raises(InputError) as caught:
        settle(labels, labels)
    first, second = sorted((one, other))
    places = {label: f"train.csv, line {labels.index(label) + 2}" for label in labels}
    assert str(caught.value) == (
        f"{places[second]}: label {second!r} looks like {first!r} ({places[first]}); use one spelling"
    )
