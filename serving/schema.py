"""What a client may send and what it gets back. The flow of a request is made from FLOWS."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from operator import attrgetter
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    create_model,
    model_validator,
)

from features.flows import FLAGS, FLOWS, FlowSettings
from features.table import Column
from serving.problems import MAX_DEVICES
from training.artifact import Manifest

MAX_BATCH = 10_000  # devices of one /identify_batch
MAX_SESSIONS = 100  # devices and sources that the inline flows of one /identify are of
MAX_FLOWS = 10_000  # inline flows of one /identify
MAX_EXPLAINED = 20  # devices or sessions of one /explain: a large forest takes a second for each
MAX_TOP = 50
LONGEST_SESSION_D = 30  # the spread of flow times is summed in whole microseconds, squared
LARGEST = 2**48  # bytes, packets or ms of one flow; so that the sums over MAX_FLOWS stay inside int64
MAX_FIRST_PACKETS = 255  # nfstream gives no more
INLINE_SOURCE = "inline"
TCP = 6  # IANA protocol number

_FLAG_COUNTS = tuple(f"{side}_{flag}_packets" for side in ("up", "down") for flag in FLAGS)
_NOT_GIVEN: Mapping[str, int | str] = {
    "source": INLINE_SOURCE,
    "vlan_id": 0,
    "application_confidence": 0,
    **dict.fromkeys(_FLAG_COUNTS, 0),
}
_FIRST = Field(max_length=MAX_FIRST_PACKETS)


def _iso_text(value: object) -> datetime:
    """Refuse the numbers that pydantic would guess to be seconds or milliseconds."""
    if isinstance(value, datetime):
        return value
    rule = "must be an ISO 8601 text such as 2025-03-01T08:00:00Z"
    if not isinstance(value, str):
        raise ValueError(rule)
    try:
        return datetime.fromisoformat(value)
    except ValueError as error:
        raise ValueError(rule) from error


def _utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("must name its offset from UTC, as 2025-03-01T08:00:00Z does")
    if not 1970 <= value.year < 2200:  # nanosecond timestamps end in 2262
        raise ValueError("must lie between 1970 and 2199")
    return value.astimezone(UTC)


def _address(value: str) -> str:
    try:
        return str(ip_address(value))
    except ValueError as error:
        raise ValueError("must be an IPv4 or IPv6 address") from error


def encodable(value: str) -> bool:
    """Return whether a text can be sent: JSON may escape half of a surrogate pair, which no UTF-8 holds."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _whole_characters(value: str) -> str:
    if not encodable(value):
        raise ValueError("must be Unicode without lone surrogates")
    return value


Text = Annotated[str, Field(strict=True), AfterValidator(_whole_characters)]
Address = Annotated[Text, AfterValidator(_address)]
Instant = Annotated[datetime, BeforeValidator(_iso_text), AfterValidator(_utc)]


class _FlowRules(BaseModel):
    """What holds between the columns of one flow."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="after")
    def _columns_agree(self) -> Self:
        given: Any = self  # Any: the columns are made from FLOWS, which mypy cannot see
        if given.end < given.start:
            raise ValueError("end must not be before start")
        if given.protocol == TCP and not set(_FLAG_COUNTS) <= self.model_fields_set:
            raise ValueError("a TCP flow must give all its counts of TCP flags")
        if len(given.first_ps or ()) != len(given.first_piat_ms or ()):
            raise ValueError("first_ps and first_piat_ms must be of one length")
        return self


def _field(column: Column) -> Any:
    """Return (type, Field) of a column of the contract. Any: what pydantic's create_model takes."""
    low = -LARGEST if column.low is None else int(column.low)
    high = LARGEST if column.high is None else int(column.high)
    number = Field(strict=True, ge=low, le=high)
    text = Address if column.name.endswith("_ip") else Text
    kinds: dict[str, Any] = {
        "string": Annotated[text, Field(min_length=None if column.empty else 1)],
        "bool": Annotated[bool, Field(strict=True)],
        "int64": Annotated[int, number],
        "float64": Annotated[float, number],
        "timestamp": Instant,
        "int32[]": Annotated[list[Annotated[int, number]], _FIRST],
        "int64[]": Annotated[list[Annotated[int, number]], _FIRST],
    }
    kind, description = kinds[column.dtype], f"{column.description} [{column.unit}]"
    if column.empty:
        return kind | None, Field(None, description=description)
    return kind, Field(_NOT_GIVEN.get(column.name, ...), description=description)


Flow = create_model(
    "Flow",
    __base__=_FlowRules,
    __doc__="One bidirectional flow, seen from the device. What was not measured may be left out.",
    **{column.name: _field(column) for column in FLOWS},
)


class Question(BaseModel):
    """Which devices: by name, as the online store has them, or by the flows of their sessions."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"oneOf": [{"required": ["device_ids"]}, {"required": ["flows"]}]},
    )
    max_sessions: ClassVar[int] = MAX_SESSIONS

    device_ids: list[Text] | None = Field(None, min_length=1, max_length=MAX_DEVICES)
    flows: list[Flow] | None = Field(
        None, min_length=1, max_length=MAX_FLOWS, description="flows of one device and source are one session"
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.device_ids is None) == (self.flows is None):
            raise ValueError("the body must have device_ids or flows, and not both")
        return self

    @model_validator(mode="after")
    def _sessions_are_few_and_short(self) -> Self:
        first: dict[tuple[str, str], datetime] = {}
        flows: list[Any] = sorted(self.flows or (), key=attrgetter("start"))  # Any: as in _FlowRules
        for flow in flows:
            began = first.setdefault((flow.device_id, flow.source), flow.start)
            if flow.end - began > timedelta(days=LONGEST_SESSION_D):
                raise ValueError(f"flows of one device and source must lie within {LONGEST_SESSION_D} days")
        if len(first) > self.max_sessions:
            raise ValueError(
                f"flows must be of at most {self.max_sessions} devices and sources, but are of {len(first)}"
            )
        return self


class BatchQuestion(BaseModel, frozen=True, extra="forbid"):
    """Which devices, many at once, by name."""

    device_ids: list[Text] = Field(min_length=1, max_length=MAX_BATCH)


class Candidate(BaseModel, frozen=True):
    """A leaf and its probability."""

    label: str
    probability: float


class Answer(BaseModel, frozen=True):
    """What stands behind one device."""

    device_id: str
    status: Literal["known", "stale"] = Field(description="stale: the window is older than its time to live")
    label: str = Field(description="always the best leaf")
    family: str = Field(description="the group of near-identical leaves that the label belongs to")
    level: Literal["leaf", "family"] = Field(description="how far the answer may be trusted")
    unknown: bool = Field(description="probably none of the types the model knows")
    probability: float = Field(ge=0, le=1, description="of the label")
    family_probability: float = Field(ge=0, le=1, description="of the family; `unknown` is judged on it")
    top: list[Candidate] = Field(description="the best leaves, best first, at most three")
    how: Literal["model"] = Field(description="what the answer rests on")
    model_version: str
    simulated: bool | None = Field(
        description="whether the model learnt from simulated traffic; null: its run has no report that tells"
    )
    feature_service: str
    source: str | None = Field(description="of inline flows; null when the online store answered")
    window_end: datetime = Field(description="end of the window that was looked at, UTC")


class ProblemDetail(BaseModel, frozen=True):
    """RFC 9457: what went wrong. `type` names the kind; docs/rest.md explains each."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = Field(None, description="this occurrence; the log of the service names it too")


class BrokenValue(BaseModel, frozen=True):
    """One value that breaks the schema."""

    pointer: str = Field(description="JSON pointer into the body (RFC 6901), as a URI fragment")
    rule: str
    detail: str


class InvalidDetail(ProblemDetail, frozen=True):
    """A problem of the body: which values, and which rules they break."""

    errors: list[BrokenValue]


class Missing(BaseModel, frozen=True):
    """A device of a batch that could not be answered for; the others were."""

    device_id: str
    status: Literal["missing"]
    problem: ProblemDetail


class Answers(BaseModel, frozen=True):
    """One answer per device asked for, in that order; for inline flows per device and source, sorted."""

    answers: list[Answer]


class BatchAnswers(BaseModel, frozen=True):
    """One answer per device asked for, in that order; a problem in place of one without a window."""

    answers: list[Answer | Missing]
    known: int
    stale: int
    missing: int


class Contribution(BaseModel, frozen=True):
    """What one feature contributed to the score of the label."""

    feature: str
    value: bool | int | float | str | None = Field(description="in `unit`; null: not measured")
    unit: str
    usual_low: float | None = Field(description="5th percentile in training; null: a text, or not kept")
    usual_high: float | None = Field(description="95th percentile in training")
    contribution: float = Field(description="above 0 speaks for the label, below 0 against it")


class ContributionGroup(BaseModel, frozen=True):
    """Features that move together in training: any two have a rank correlation of at least 0.9, of either sign."""

    group: str = Field(description="the feature that is most like the others")
    contribution: float = Field(description="sum over its features, with their signs")
    features: list[Contribution] = Field(description="the strongest first")


class Explanation(BaseModel, frozen=True):
    """Why a label was answered: base + contributions of the groups told + rest = score."""

    unit: Literal["log odds", "probability"] = Field(
        description="of contributions, base and score, all before calibration. log odds: natural logarithm of the odds"
        " of the label against the other one; with more than two, of its share before all are scaled to sum to 1"
    )
    method: Literal["tree paths", "all coalitions", "sampled orders"] = Field(
        description="Shapley values of trees by their paths (exact), or of a network against typical rows of"
        " training: over all coalitions of features (exact), or estimated from sampled orders of them"
    )
    base: float = Field(description="the score where nothing is known of the device")
    groups: list[ContributionGroup] = Field(description="the strongest first, at most `top`")
    rest: float = Field(description="sum of the contributions of all other groups")
    score: float = Field(description="what the model gave the label, asked without explaining")


class Explained(Answer, frozen=True):
    """An answer and why it was given, or the problem that stands in the place of the reason."""

    explanation: Explanation | None
    problem: ProblemDetail | None = Field(description="null where there is an explanation")


class Explanations(BaseModel, frozen=True):
    """One row per device asked for, in that order; a problem in place of what could not be answered or explained."""

    answers: list[Explained | Missing]


class Judgement(BaseModel, frozen=True):
    """What the report of the run says first."""

    sentence: str
    simulated: bool = Field(description="the run learnt from simulated traffic, and so did its figures")


class ServedModel(BaseModel, frozen=True):
    """What answers here: the digest of a run's manifest."""

    model_version: str
    experiment: str
    kind: str
    window: str = Field(description="the window the model looks at")
    flow_settings: FlowSettings = Field(description="how packets became the flows that it learnt from")
    feature_service: str
    inline_flows: bool = Field(description="whether /identify takes flows: only of session models")
    classes: list[str]
    families: dict[str, str] = Field(description="family of each class")
    features: list[str] = Field(description="in the order the model reads them")
    thresholds: dict[str, float | int | str | None] = Field(description="where `unknown` and `level` change")
    rows: int = Field(description="windows the model was fitted on")
    data_hash: str
    seed: int
    libraries: dict[str, str]
    git_commit: str | None
    created: datetime
    judgement: Judgement | None = Field(description="null: the run has no report")

    @classmethod
    def of(cls, manifest: Manifest, judgement: Judgement | None) -> Self:
        """Return the digest of a manifest whose feature service and window are named."""
        same = set(cls.model_fields) - {"experiment", "features"}
        return cls(
            **manifest.model_dump(include=same),
            experiment=manifest.experiment.name,
            inline_flows=manifest.window == "session",
            features=[feature.name for feature in manifest.features],
            judgement=judgement,
        )


class ServedModels(BaseModel, frozen=True):
    """The models of this service; now one."""

    models: list[ServedModel]


class Report(BaseModel, frozen=True):
    """A report of the workspace that can be read."""

    id: str
    kind: Literal["run", "selection"] = Field(
        description="of a trained model, or of a selection of indicators"
    )
    headline: str | None = Field(description="what it says first")
    made: datetime = Field(description="UTC")
    markdown: bool = Field(description="whether it can also be read as Markdown")


class Reports(BaseModel, frozen=True):
    """The reports of the workspace, newest first."""

    reports: list[Report]


class State(BaseModel, frozen=True):
    """Of the process (livez) or of the model (readyz)."""

    status: Literal["alive", "ready"]
