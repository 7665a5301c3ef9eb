"""configs/demarcation_rules.yaml: which evidence puts a fault on whom. What the rules conclude is not computed here."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from evaluation.faults import FaultDomain
from features.configuration import find_config, read_config
from features.indicators import Basis, Frozen, Id, Name, Number, Scope

RuleId = Annotated[str, Field(pattern=r"^[A-Z][0-9]+$")]
Share = Annotated[float, Field(ge=0, le=1)]
TERMINALS = ("iot", "phone")  # what a rule applies to, beside services


class Atom(Frozen):
    """metric at scope op value. A missing metric makes it unknown: nothing here can give it a value."""

    metric: Id
    scope: Scope
    stat: Literal["value", "delta"] = "value"
    op: Literal["eq", "ge", "gt", "le", "lt"]
    value: Number


class Every(Frozen):
    """All of the conditions."""

    all: tuple["Condition", ...] = Field(min_length=1)


class Either(Frozen):
    """Any of the conditions."""

    any: tuple["Condition", ...] = Field(min_length=1)


class Unlike(Frozen):
    """Not the condition."""

    not_: "Condition" = Field(alias="not")


def _form(condition: object) -> str:
    keys = condition if isinstance(condition, dict) else vars(condition)
    return next((form for form in ("all", "any", "not", "not_") if form in keys), "atom").rstrip("_")


Condition = Annotated[
    Annotated[Atom, Tag("atom")]
    | Annotated[Every, Tag("all")]
    | Annotated[Either, Tag("any")]
    | Annotated[Unlike, Tag("not")],
    Discriminator(_form),
]


class Rule(Frozen):
    """One rule; the comments at the head of the file say what each field means."""

    id: RuleId
    tier: int = Field(ge=0, le=4)
    name: Name
    applies_to: tuple[Name, ...] = Field(min_length=1)
    fault_domain: FaultDomain
    sub_domain: Id | None = None
    cause: tuple[Id, ...] = Field(min_length=1)
    when: Condition
    unless: Condition | None = None
    location: Scope
    confidence: Share
    explanation: Name
    action_user: Name
    action_engineer: Name
    basis: Basis

    def atoms(self) -> Iterator[Atom]:
        """Yield the atoms of `when` and `unless`."""
        yield from _atoms(self.when)
        if self.unless is not None:
            yield from _atoms(self.unless)


class Tier(Frozen):
    """One tier, in words."""

    tier: int = Field(ge=0, le=4)
    name: Name
    meaning: Name


class Fallback(Frozen):
    """What is concluded when no rule fires, in words."""

    when: Name
    method: Name
    max_confidence: Share
    why: Name


class ConfidenceUse(Frozen):
    """From which confidence on a conclusion is used how."""

    auto_conclusion: Share
    suggest_to_front_end: Share
    below: Name


class Suppress(Frozen):
    """The rules that a fired cell level radio rule silences for devices in the cell."""

    by_cell_radio: tuple[RuleId, ...]


class TimeBudget(Frozen):
    """How long each part of an answer may take, s."""

    total_s: float = Field(gt=0)
    terminal_sdk_s: float = Field(ge=0)
    network_features_s: float = Field(ge=0)
    platform_features_s: float = Field(ge=0)
    rules_s: float = Field(ge=0)
    render_and_return_s: float = Field(ge=0)
    reserve_s: float = Field(ge=0)


class AccuracyTarget(Frozen):
    """What is aimed at, in words."""

    seed: Name
    measure: Name


class Policy(Frozen):
    """How fired rules become one conclusion."""

    tiers: tuple[Tier, ...]
    precedence: tuple[Name, ...]
    conflict_handling: tuple[Name, ...]
    residual_causes: dict[Id, Name]
    fallback: Fallback
    confidence_use: ConfidenceUse
    calibration: Name
    suppress: Suppress
    time_budget: TimeBudget
    time_note: Name
    accuracy_target: AccuracyTarget


class DemarcationRules(Frozen):
    """The whole file."""

    schema_: Literal["demarcation_rules/1"] = Field(alias="schema")
    fault_domains: tuple[FaultDomain, ...]
    policy: Policy
    rules: tuple[Rule, ...]


def find_rules(workspace: Path | None = None) -> Path:
    """Return the rules that a workspace uses."""
    return find_config("demarcation_rules.yaml", workspace)


def read_rules(path: Path) -> DemarcationRules:
    """Return the file: its form is checked, its references are not (evaluation/domain.py does)."""
    return read_config(path, DemarcationRules)


def rules_file_broken(
    whole: DemarcationRules,
    *,
    granularity: Mapping[str, tuple[Scope, ...]],
    faults: frozenset[str],
    services: frozenset[str],
) -> Iterator[str]:
    """Yield each rule of the domain that the file breaks: the id, the rule, the fact.

    granularity: by id of every known indicator, terminal ones too. faults, services: the known ids.
    """
    for rule_id, times in Counter(rule.id for rule in whole.rules).items():
        if times > 1:
            yield f"{rule_id}: ids must be unique, but {times} rules have this one"
    causes = faults | set(whole.policy.residual_causes)
    for rule in whole.rules:
        yield from _atoms_broken(rule, granularity)
        for cause in rule.cause:
            if cause not in causes:
                yield f"{rule.id}: cause must be a catalogue fault or a residual cause, but {cause} is neither"
        for one in rule.applies_to:
            if one not in services.union(TERMINALS):
                yield f"{rule.id}: applies_to must name services or {', '.join(TERMINALS)}, but has {one}"
        if rule.fault_domain not in whole.fault_domains:
            yield f"{rule.id}: fault_domain must be in fault_domains, but {rule.fault_domain} is not"
    for rule_id in set(whole.policy.suppress.by_cell_radio) - {rule.id for rule in whole.rules}:
        yield f"{rule_id}: policy.suppress must name rules, but there is no such rule"


def _atoms_broken(rule: Rule, granularity: Mapping[str, tuple[Scope, ...]]) -> Iterator[str]:
    for atom in rule.atoms():
        scopes = granularity.get(atom.metric)
        if scopes is None:
            yield f"{rule.id}: metric must be a known indicator, but {atom.metric} is not"
        elif atom.scope not in scopes:
            yield (
                f"{rule.id}: scope of {atom.metric} must be in its granularity ({', '.join(scopes)}),"
                f" but is {atom.scope}"
            )


def _atoms(condition: Atom | Every | Either | Unlike) -> Iterator[Atom]:
    if isinstance(condition, Atom):
        yield condition
    elif isinstance(condition, Unlike):
        yield from _atoms(condition.not_)
    else:
        for one in condition.all if isinstance(condition, Every) else condition.any:
            yield from _atoms(one)
