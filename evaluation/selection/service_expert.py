"""What people have said of a KQI's indicators: the weights of its service file, and statements of their own."""

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

from evaluation.domain import Domain
from evaluation.process import Kqi, ServiceModel
from evaluation.selection.expert import Direction, Experts, Statement, read_experts
from evaluation.selection.record import Json
from evaluation.selection.service_table import indicator_of


def experts_of(
    path: Path | None, service: ServiceModel, kqi: Kqi, *, columns: Sequence[str], since: date
) -> Experts:
    """Return what a person's file says of columns, and for all others the weights of the service file, as of `since`.

    A statement of the file names a column, or an indicator: then all of its columns that have no statement of their
    own. A weight of the service file is told beside 1, the mean of those it gives. Raises as `read_experts` does.
    """
    ids = dict.fromkeys(indicator_of(column) for column in columns)
    said = Experts() if path is None else read_experts(path, [*columns, *ids])
    weights = {one.indicator: one.weight * len(kqi.expert_weights) for one in kqi.expert_weights}
    statements = []
    for column in columns:
        own = said.of(column) or said.of(indicator_of(column))
        if own is not None:
            statements.append(own.model_copy(update={"indicator": column}))
        elif indicator_of(column) in weights:
            statements.append(
                Statement(
                    indicator=column,
                    weight=weights[indicator_of(column)],
                    author=f"{service.id}.yaml, {kqi.basis}",
                    reason=f"expert_weights of {kqi.id}",
                    date=since,
                )
            )
    return Experts(alpha=said.alpha, statements=tuple(statements))


def against_catalogue(summary: Json, kqi: Kqi, domain: Domain) -> Iterator[str]:
    """Yield a note for each selected indicator that moves the KQI otherwise than its own good direction promises."""
    better = {one.id: one.direction for one in domain.indicators}
    better |= {one.id: one.direction for one in domain.terminal if one.kind == "measure"}
    for row in summary["groups"]:
        name, effect = row["representative"], row["effect"]
        indicator = indicator_of(name)
        if indicator not in better or effect is None or effect["direction"] == 0:
            continue
        wanted = 1 if better[indicator] == kqi.direction else -1
        if effect["direction"] != wanted:
            words: dict[int, Direction] = {1: "rising", -1: "falling"}
            yield (
                f"{name}: the catalogue says {better[indicator].replace('_', ' ')}, so {kqi.id} should be"
                f" {words[wanted]} with it, but here it is {words[effect['direction']]}; nothing was forced"
            )
