import hashlib
from decimal import ROUND_FLOOR, Decimal, localcontext
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bench.datasets import parse_budgets, read_index_file, selection_name
from bench.errors import UsageError


@given(st.lists(st.integers(1, 500), min_size=1))
def test_numbers_keep_their_order_and_lose_duplicates(budgets: list[int]) -> None:
    expected = [b for i, b in enumerate(budgets) if b not in budgets[:i]]
    assert parse_budgets(",".join(map(str, budgets)), 500) == expected


@given(n_train=st.integers(1, 10**7), cents=st.integers(1, 10_000))
def test_percentages_round_down_exactly(n_train: int, cents: int) -> None:
    with localcontext(prec=60):
        exact = (Decimal(cents) / 10_000 * n_train).to_integral_value(ROUND_FLOOR)
    assume(exact >= 1)
    assert parse_budgets(f"{Decimal(cents) / 100}%", n_train) == [int(exact)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20,50,100,all", [20, 50, 100, 1000]),
        ("100, 20 ,100", [100, 20]),
        ("all,1000,100%", [1000]),
        ("10%", [100]),
        ("0.29%", [2]),
        (".1%", [1]),
        ("007", [7]),
    ],
)
def test_budgets(text: str, expected: list[int]) -> None:
    assert parse_budgets(text, 1000) == expected


def test_a_percentage_that_floats_get_wrong() -> None:
    assert int(0.29 * 100) == 28
    assert parse_budgets("29%", 100) == [29]


@pytest.mark.parametrize(
    "text",
    [
        "", " ", ",", "20,", "20,,50", "0", "-5", "1001", "2.5", "1e2", "ten", "20;50", "²", "٣", "0%", "-1%", "101%",
        "%", "1e1%", "10 %x", "0.05%", "nan%", "ALL", "9" * 5000, "9" * 5000 + "%", "1_0",
    ],
)  # fmt: skip
def test_malformed_budgets_name_the_option(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--labels") as caught:
        parse_budgets(text, 1000)
    assert len(str(caught.value)) < 400


@settings(deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        budgets = parse_budgets(text, 1000)
    except UsageError:
        return
    assert budgets
    assert all(1 <= b <= 1000 for b in budgets)


@pytest.mark.parametrize("content", ["3\n1\n2\n", "3\r\n1\r\n\r\n2", " [3, 1,\n 2]", "\ufeff3\n1\n2"])
def test_both_formats_of_index_files(tmp_path: Path, content: str) -> None:
    path = tmp_path / "indices"
    path.write_bytes(content.encode())
    assert read_index_file(path).tolist() == [3, 1, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"[]", "is empty"),
        (b"1\n2\n1\n", "1 comes twice"),
        (b"1\n2.0\n", "'2.0' is no index"),
        (b"1\n-2\n", "'-2' is no index"),
        (b"one", "'one' is no index"),
        (b"1 2", "'1 2' is no index"),
        (b"[1, 2.0]", "'2.0' is no index"),
        (b"[1, true]", "'true' is no index"),
        (b'["1"]', "is no index"),
        (b"[[1]]", "is no index"),
        (b"[1,", "not readable as text or JSON"),
        (b"[" * 100_000, "not readable as text or JSON"),
        (b"\xff\xfe\x00", "not readable as text or JSON"),
        (b"9" * 6000, "is no index"),
        (b"[" + b"9" * 6000 + b"]", "index file"),
    ],
)
def test_broken_index_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "indices"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        read_index_file(path)
    assert len(str(caught.value)) < 600


def test_a_missing_index_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_index_file(tmp_path / "nothing")


def test_selections_keep_their_names_and_files_get_that_of_their_content(tmp_path: Path) -> None:
    for name in ("balanced", "random", "first", "prototypes"):
        assert selection_name(name) == (name, None)
    paths = tmp_path / "a.txt", tmp_path / "b.txt"
    for path in paths:
        path.write_text("5\n6\n")
    expected = "file:" + hashlib.sha256(b"5\n6\n").hexdigest()[:12]
    assert [selection_name(str(path)) for path in paths] == [(expected, path) for path in paths]


@pytest.mark.parametrize("option", ["blanced", "", ".", "nowhere/list.txt", "x" * 9000, "a\0b"])
def test_unknown_selections(option: str) -> None:
    with pytest.raises(
        UsageError, match=r"Allowed: balanced, first, prototypes, random. Or the path of an index file"
    ) as caught:
        selection_name(option)
    assert len(str(caught.value)) < 400
    if option == "blanced":
        assert "Did you mean 'balanced'" in str(caught.value)
