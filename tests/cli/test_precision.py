"""`--precision`: what it means on which device."""

from __future__ import annotations

import pytest

from bench.cli.training import precision_of
from bench.errors import UsageError
from bench.training.precision import DEFAULTS


@pytest.mark.parametrize(
    ("text", "device", "expected"),
    [
        ("auto", "cpu", None), ("fp32", "cpu", None), ("auto", "cuda", None), ("fp32", "cuda", None),
        ("tf32", "cuda", "tf32"), ("bf16", "cuda", "bf16"), ("auto", "auto", None),
    ],
)  # fmt: skip
def test_only_another_precision_than_the_default_is_named(text: str, device: str, expected: str | None) -> None:
    assert precision_of(text, device) == expected


def test_the_former_default_is_named_when_another_has_taken_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEFAULTS, "cuda", "tf32")
    assert (precision_of("tf32", "cuda"), precision_of("fp32", "cuda")) == (None, "fp32")


@pytest.mark.parametrize(
    ("text", "device", "message"),
    [
        ("tf32", "cpu", "a CPU computes in fp32"),
        ("fp32", "auto", "say what its workers have"),
        ("fp16", "cuda", "unknown precision in --precision 'fp16'"),
    ],
)
def test_refusals(text: str, device: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        precision_of(text, device)
