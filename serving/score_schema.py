"""What a client may ask of the scores of services, and what it gets back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SkipValidation,
    WithJsonSchema,
    model_validator,
)

from serving.schema import (
    MAX_BATCH,
    MAX_EXPLAINED,
    MAX_TOP,
    Instant,
    InvalidDetail,
    ProblemDetail,
    Question,
    Text,
)

MAX_INDICATORS = 200  # of one inline row; a service names some 50
Status = Literal["scored", "insufficient evidence"]
Points = Annotated[float, Field(description="points of the service score, of 100")]


@dataclass(frozen=True, slots=True)
class Given:
    """The value of an indicator, in its unit, and what it was made of. A dataclass: a batch has 250,000 of them."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    value: Annotated[float, Field(strict=True, allow_inf_nan=False)] | None
    samples: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)] | None = None


_LARGEST = 2**63  # of a whole number; JSON has larger ones, which no float64 holds


def _plain(values: object) -> object:
    """Take plain numbers, nearly all of a batch, out of pydantic's hands, which needs several times as long."""
    if not isinstance(values, dict):
        return values
    return {name: _number(value) for name, value in values.items()}


def _number(value: object) -> object:
    kind = type(value)
    if value is None or (kind is float and isfinite(value)):  # type: ignore[arg-type]
        return Given(value)  # type: ignore[arg-type]
    if kind is int and abs(value) < _LARGEST:  # type: ignore[arg-type]
        return Given(float(value))  # type: ignore[arg-type]
    return {"value": value} if kind is float or kind is int else value


def _object(value: object) -> object:
    if not isinstance(value, dict | Given):
        raise ValueError("must be a number, null, or an object with value and samples")
    return value


_GIVEN_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "number"},
        {"type": "null", "description": "not known"},
        {
            "type": "object",
            "properties": {
                "value": {"anyOf": [{"type": "number"}, {"type": "null"}]},
                "samples": {"type": "number", "minimum": 0, "description": "what the value was made of"},
            },
            "required": ["value"],
            "additionalProperties": False,
        },
    ]
}
Values = Annotated[
    dict[str, Annotated[Given, BeforeValidator(_object), WithJsonSchema(_GIVEN_SCHEMA)]],
    Field(min_length=1, max_length=MAX_INDICATORS),
    BeforeValidator(_plain),
]
NO_SERVICE = "indicators given inline must name their service, or a label"
_ONE: Any = {"oneOf": [{"required": ["device_id"]}, {"required": ["indicators"]}]}


class ScoreRow(BaseModel):
    """Whose score: of a device by name, or of indicator values that the client has."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=_ONE)

    device_id: Text | None = None
    indicators: Values | None = Field(
        None, description="by id (GET /indicators), in the unit of each; null, or left out: not known"
    )
    service: Text | None = Field(
        None, description="id of GET /services; without: as MEMBERSHIP says, else by the label of the device"
    )
    label: Text | None = Field(
        None,
        description="what identification said of the device; service_of_label.yaml says which service it runs",
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.device_id is None) == (self.indicators is None):
            raise ValueError("must have device_id or indicators, and not both")
        return self


class ScoreQuestion(ScoreRow, frozen=True):
    """Whose score, and as of when."""

    at: Instant | None = Field(
        None, description="as of when; without, the end of the newest window of the workspace"
    )

    @model_validator(mode="after")
    def _of_a_service(self) -> Self:
        if self.indicators is not None and self.service is None and self.label is None:
            raise ValueError(NO_SERVICE)
        return self


class ScoreBatchQuestion(BaseModel, frozen=True, extra="forbid"):
    """Whose scores, many at once: devices by name, or rows of names and of values."""

    device_ids: list[SkipValidation[str]] | None = Field(
        None, min_length=1, max_length=MAX_BATCH, description="as rows that have a device_id alone"
    )
    rows: list[SkipValidation[ScoreRow]] | None = Field(
        None, min_length=1, max_length=MAX_BATCH, description="each is checked by itself"
    )
    service: Text | None = Field(None, description="of the rows that name none")
    at: Instant | None = Field(None, description="as of when, of all rows by name")

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.device_ids is None) == (self.rows is None):
            raise ValueError("the body must have device_ids or rows, and not both")
        return self

    def asked(self) -> Sequence[object]:
        """Return the rows as they came."""
        if self.rows is not None:
            return self.rows
        return [{"device_id": one} for one in self.device_ids or ()]


class Scored(BaseModel, frozen=True):
    """How well a service works for one device, 0 worst to 100 best."""

    service: str
    scope: Literal["device", "inline"] = Field(description="inline: the values were given with the question")
    device_id: str | None
    window_end: datetime | None = Field(description="the moment that the score is of; null for inline values")
    status: Status
    score: float | None = Field(description="null where evidence is insufficient")
    low: float = Field(description="least that it is, with 95 % of the errors of counting")
    high: float = Field(description="most that it is, if what is unknown were excellent")
    estimate: float | None = Field(description="as if the unknown were like what is known of its KQI")
    coverage: float = Field(description="known share of the weight of all indicators, 0 to 1")
    worst_kqi: str | None = Field(description="the KQI that costs most points by what is known")
    worst_step: str | None = Field(description="the step that owns most of them: process/number name")
    worst_indicator: str | None
    warning: str | None = Field(
        None,
        description="what is odd about the question: MEMBERSHIP says that the device runs another service",
    )


class BriefScore(Scored, frozen=True):
    """The score of one row of a batch."""

    kqis: dict[str, float | None] = Field(description="score of each KQI; null: insufficient evidence")


class Refused(BaseModel, frozen=True):
    """A row that could not be scored; the others were."""

    row: int = Field(description="its place in the question, from 0")
    device_id: str | None
    status: Literal["refused"]
    problem: InvalidDetail | ProblemDetail


class Scores(BaseModel, frozen=True):
    """One answer per row asked for, in that order; a problem in place of one that could not be scored."""

    answers: list[BriefScore | Refused]
    scored: int
    insufficient: int
    refused: int
    simulated: bool = Field(description="the lake of the workspace holds simulated rows")


class KqiScore(BaseModel, frozen=True):
    """What the customer sees of one thing, 0 to 100, as the indicators tell it."""

    kqi: str
    name: str
    score: float | None = Field(description="null: less than min_coverage of its weight is known")
    coverage: float
    weight: float = Field(description="in the score of the service")
    target: float = Field(description="of the KQI itself, in its unit")
    unit: str
    lost: Points


class StepScore(BaseModel, frozen=True):
    """How well one step works: the mean utility of its known indicators, whether or not a KQI weighs them."""

    step: str = Field(description="process/number name")
    score: float | None = Field(description="null: none of its indicators is known")
    coverage: float | None = Field(description="known share of its indicators; null: it names none")
    lost: Points


class ProcessScore(BaseModel, frozen=True):
    """How well a process works: the geometric mean of its known steps that are not optional."""

    process: str
    name: str
    score: float | None = Field(description="null: less than min_coverage of it is known")
    coverage: float | None = Field(description="mean of that of its steps that are not optional")
    steps: list[StepScore]


class Used(BaseModel, frozen=True):
    """One indicator of the service, and what it is worth."""

    indicator: str
    value: float | None = Field(description="in `unit`; null: not known")
    unit: str
    utility: float | None = Field(description="0 at unacceptable, 100 at excellent")
    scope: str | None = Field(
        description="who told it: device, or the nearest place that knows it; null: given"
    )
    scope_id: str | None
    samples: float | None = Field(description="what the value was made of")
    window_end: datetime | None
    age_s: float | None = Field(description="from its window's end to the moment of the score")
    lost: Points
    note: str | None = Field(None, description="why a value that was given does not count")


class Lost(BaseModel, frozen=True):
    """The points that are missing to 100, if what is unknown counts as 0; the parts of indicators add up to it."""

    total: float
    by_unknown: float = Field(description="of these, since an indicator is not known")


class ScoreAnswer(Scored, frozen=True):
    """The score of one device, and all that it is made of."""

    service_by: Literal["question", "membership", "label"] = Field(description="who said which service it is")
    kqis: list[KqiScore]
    processes: list[ProcessScore]
    lost: Lost
    indicators: list[Used] = Field(description="those that a KQI weighs first, then the others of the steps")
    unused: list[str] = Field(description="indicators given inline that the service does not name")
    simulated: bool


class LostIndicator(BaseModel, frozen=True):
    """What one indicator cost in one step, beside what is usual of it."""

    indicator: str
    name: str
    value: float | None = Field(description="in `unit`; null: not known, so that it counts as unacceptable")
    unit: str
    usual_low: float | None = Field(description="healthy range of it; null: of what a device tells itself")
    usual_high: float | None
    excellent: float | None = Field(description="costs nothing; null of a flag")
    unacceptable: float | None = Field(description="costs all of its weight")
    lost: Points


class LostStep(BaseModel, frozen=True):
    """What a step cost: the sum over its indicators, of which steps that share one own equal parts."""

    step: str
    process: str
    name: str
    lost: Points
    indicators: list[LostIndicator] = Field(description="the dearest first")


class ScoreExplanation(BaseModel, frozen=True):
    """Why the score is not 100: steps told + rest = lost, and 100 - lost is the score that counts the unknown as 0."""

    lost: Points
    steps: list[LostStep] = Field(description="the dearest first, at most `top`")
    rest: float = Field(description="points of all other steps")


class ExplainedScore(Scored, frozen=True):
    """A score and its reasons."""

    explanation: ScoreExplanation


class ScoreExplanations(BaseModel, frozen=True):
    """One row per device asked for, in that order; a problem in place of what could not be scored."""

    answers: list[ExplainedScore | Refused]
    simulated: bool


class WhyQuestion(Question):
    """What is to be explained: the answers of /identify, or, with `service`, the scores of that service."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["device_ids"]},
                {"required": ["flows"]},
                {"required": ["service", "indicators"]},
            ]
        }
    )
    max_sessions: ClassVar[int] = MAX_EXPLAINED

    device_ids: list[Text] | None = Field(None, min_length=1, max_length=MAX_EXPLAINED)
    top: Annotated[int, Field(strict=True, ge=1, le=MAX_TOP)] = Field(
        5, description="how many groups of features, or steps of a service, are told, the strongest first"
    )
    service: Text | None = Field(
        None, description="explain the score of this service, not what was identified"
    )
    indicators: Values | None = Field(None, description="with `service`: values that the client has")
    at: Instant | None = Field(None, description="with `service`: as of when")

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.service is None:
            if self.indicators is not None or self.at is not None:
                raise ValueError("indicators and at are of a score; name its service")
            if (self.device_ids is None) == (self.flows is None):
                raise ValueError("the body must have device_ids or flows, and not both")
        elif self.flows is not None or (self.device_ids is None) == (self.indicators is None):
            raise ValueError("with service, the body must have device_ids or indicators, and not both")
        return self
