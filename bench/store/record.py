"""The content of a run's file: what was run, how it ended, its curve and where it comes from."""

from __future__ import annotations

import json
import math
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, NonNegativeInt, ValidationInfo, model_validator

from bench.grid.run import Run

SCHEMA = 1  # raise it when a file of today could not be read by the code of yesterday


def finite(value: Any) -> Any:
    """The same value of JSON types with NaN and the infinities, which JSON does not know, replaced by None."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _finite(value: Any, info: ValidationInfo) -> Any:
    """`finite`, but for what comes from JSON: numbers that it does not know are refused there."""
    return value if info.mode == "json" else finite(value)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


class SplitFacts(_Part):
    """Which labels a run was given and which it touched: the label firewall's account."""

    labelled_hash: str  # of the index list
    labelled: NonNegativeInt  # length of the index list: the budget
    labels_touched: NonNegativeInt  # distinct labelled images whose label was read
    validation: NonNegativeInt
    unlabelled: NonNegativeInt


Counts = list[NonNegativeInt]  # wrongly classified images, [evaluations]


class Curve(_Part):
    """What was measured along a run; every list holds one number per evaluation."""

    steps: list[NonNegativeInt]
    seconds: list[float]  # of training up to the evaluation
    raw: Counts  # test errors of the weights as they were
    ema: Counts | None = None  # test errors of their moving average; None: the variant keeps none
    validation_raw: Counts | None = None
    validation_ema: Counts | None = None
    logs: Annotated[dict[str, list[float | None]], BeforeValidator(_finite)] = {}  # None: not finite, or not computed

    @model_validator(mode="after")
    def _aligned(self) -> Curve:
        n = len(self.steps)
        lists = [*((name, value) for name, value in self if isinstance(value, list)), *self.logs.items()]
        if wrong := [f"{name} has {len(value)}" for name, value in lists if len(value) != n]:
            raise ValueError(f"{n} evaluations, but {', '.join(wrong)} values")
        return self


class Record(_Part):
    """One run and all that is known of it."""

    schema_version: int = Field(default=SCHEMA, alias="schema")
    run: Run
    status: Literal["done", "diverged", "failed"]
    reason: str = ""  # why it failed
    diverged_at: NonNegativeInt | None = None  # the step
    split: SplitFacts | None = None
    test_images: NonNegativeInt = 0
    validation_images: NonNegativeInt = 0
    curve: Curve | None = None
    provenance: Annotated[dict[str, Any], BeforeValidator(_finite)] = {}
    artefacts: dict[str, str] = {}  # kind -> name of a weight or logit file, relative to the run's file

    @model_validator(mode="after")
    def _complete(self) -> Record:
        if self.status == "done" and not (self.curve and self.curve.steps and self.test_images):
            raise ValueError("a run that is done has test images and a curve with at least one evaluation")
        if self.status == "diverged" and self.diverged_at is None:
            raise ValueError("a run that diverged has the step where it did")
        return self

    @property
    def id(self) -> str:
        return self.run.id

    @property
    def accuracy_of(self) -> Literal["raw", "ema"]:
        """Which weights give the accuracy: the recipe's `evaluate_with`, but `raw` where no average was kept."""
        wants_ema = self.run.recipe.get("evaluate_with") == "ema"
        return "ema" if wants_ema and self.curve is not None and self.curve.ema is not None else "raw"

    def content(self) -> dict[str, Any]:
        """What must be the same whenever the same run is repeated: all but times, losses and provenance."""
        whole = self.model_dump(mode="json", exclude={"provenance", "artefacts", "reason", "schema_version"})
        if whole["curve"] is not None:
            del whole["curve"]["seconds"], whole["curve"]["logs"]
        return whole

    def to_json(self) -> str:
        """Strict JSON in a fixed order of keys, indented by one, with each list of numbers on one line."""
        whole = self.model_dump(mode="json", by_alias=True)
        ordered = {key: json.loads(json.dumps(part, sort_keys=True)) for key, part in whole.items()}
        text = json.dumps(ordered, indent=1, allow_nan=False, ensure_ascii=False)
        return _NUMBERS.sub(lambda found: f"[{' '.join(found.group(1).split())}]", text) + "\n"


# Strings hold no raw line break in JSON, so this never matches inside one.
_NUMBERS = re.compile(r"\[\n((?: *(?:null|-?\d[\d.eE+-]*),?\n)+) *\]")
