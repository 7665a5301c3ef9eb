"""From the lake of a workspace to the selection of a KQI's indicators, and the weights that it proposes."""

import logging
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

from evaluation.domain import read_domain
from evaluation.process import read_service_files
from evaluation.selection import doors, record, weights
from evaluation.selection.doors import Request
from evaluation.selection.procedure import select
from evaluation.selection.record import Json
from evaluation.selection.service_expert import against_catalogue, experts_of
from evaluation.selection.service_table import GROUP, TIME, ServiceTable, service_table
from evaluation.selection.study import Roles, read_study
from features import lake
from features.whole_file import write_text

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KqiRequest:
    """Which KQI of which service, as typed. scope: of the rows; None: the device, or what has the most targets.

    apply: write the proposed weights into the workspace. author: who does.
    """

    workspace: Path
    service: str
    kqi: str
    scope: str | None = None
    apply: bool = False
    author: str = ""


def of_service(asked: KqiRequest, request: Request, *, experts: Path | None, out: Path | None) -> str:
    """Select from the indicators of a lake, write the files, and return what to tell.

    out: the directory of the files; None: a new one below reports/ of the workspace.
    request: how to select; its target, group and time are the KQI's. Raises as `service_table`, `experts_of` and
    `weights.reweighted`.
    """
    settings = request.settings  # a wrong word is told before the lake is read
    log.info("selection: the table of %s from the lake of %s", asked.kqi, asked.workspace)
    table = service_table(asked.workspace, asked.service, asked.kqi, scope=asked.scope, seed=request.seed)
    roles = Roles(asked.kqi, GROUP, TIME, request.ignored, request.kind)
    study = read_study(table.frame, roles, table=f"{asked.service}.{asked.kqi} by {table.scope}")
    study = replace(study, notes=(*table.notes, *study.notes))
    columns = [*study.names, *(drop.indicator for drop in study.dropped)]
    said = experts_of(
        experts, table.service, table.kqi, columns=columns, since=_dated(asked.workspace, table)
    )
    summary = record.summarize(
        select(study, settings, said),
        table=f"{table.service.name}: {table.kqi.name}, by {table.scope}",
        meanings=table.meanings,
        simulated=lake.is_simulated(asked.workspace),
    )
    summary["notes"] += against_catalogue(summary, table.kqi, read_domain(asked.workspace))
    directory = doors.Place(asked.workspace, out).directory(asked.kqi, datetime.now(UTC).date())
    told = doors.publish(summary, directory)
    return "\n".join([told, *_weighed(summary, table, asked, directory)])


def _dated(workspace: Path, table: ServiceTable) -> date:
    """Return since when the weights of the service file stand as they are."""
    source = next(path for path, one in read_service_files(workspace).items() if one.id == table.service.id)
    return datetime.fromtimestamp(source.stat().st_mtime, UTC).date()


def _weighed(summary: Json, table: ServiceTable, asked: KqiRequest, out: Path) -> list[str]:
    """Write weights.diff, apply it where asked, and return lines about it."""
    mark = ", simulated" if summary["simulated"] else ""
    audit = (
        f"weights by {asked.author}, {datetime.now(UTC):%F}, from {out}, data {summary['data_hash']}{mark}"
    )
    proposed = weights.propose(summary, asked.workspace, service=table.service, kqi=table.kqi, audit=audit)
    if proposed is None:
        write_text(out / weights.WEIGHTS_DIFF, "")
        return [f"no weights are proposed: no indicator of a step of {table.kqi.id} was selected"]
    write_text(out / weights.WEIGHTS_DIFF, proposed.diff())
    lines = [f"proposed weights: {out / weights.WEIGHTS_DIFF}"]
    if proposed.beyond:
        lines.append(
            f"of no step of {table.kqi.id}, so without a weight: {', '.join(proposed.beyond)}; add a step that"
            " names them to give them one"
        )
    if asked.apply:
        proposed.apply()
        return [*lines, f"written into {proposed.target}"]
    return [*lines, f"the same call with --apply writes them into {proposed.target}"]
