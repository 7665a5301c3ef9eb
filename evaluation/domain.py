"""The domain content of a workspace, read whole and held against its rules: indicators, services, faults, rules."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from evaluation import demarcation_rules, faults, process
from evaluation.demarcation_rules import DemarcationRules
from evaluation.faults import FaultCatalogue
from evaluation.process import ServiceModel
from features import indicators
from features.configuration import find_config
from features.indicators import Indicator, IndicatorSet, TerminalIndicator, refuse


@dataclass(frozen=True)
class Domain:
    """What is measured, what it is measured for, what may break it and how that is told."""

    standard: IndicatorSet
    terminal: tuple[TerminalIndicator, ...]
    services: tuple[ServiceModel, ...]
    catalogue: FaultCatalogue
    rules: DemarcationRules

    @property
    def indicators(self) -> tuple[Indicator, ...]:
        """The 55, then the local ones of each service."""
        return (
            *self.standard.indicators,
            *(one for service in self.services for one in service.local_indicators),
        )

    @property
    def measured(self) -> tuple[Indicator | TerminalIndicator, ...]:
        """All that a service may weigh: the indicators, then what terminals tell of themselves."""
        return (*self.indicators, *self.terminal)

    def service(self, service_id: str) -> ServiceModel:
        """Return the service of that id. Raises LookupError that names those there are."""
        for one in self.services:
            if one.id == service_id:
                return one
        raise LookupError(
            f"no service {service_id!r}; there are {', '.join(one.id for one in self.services)}"
        )


def read_domain(workspace: Path | None = None) -> Domain:
    """Return the domain content. Raises ValueError that tells, one a line, file, id and rule of all that is broken.

    A file that does not have its form is told alone: what refers to it cannot be judged before.
    """
    standard = indicators.read_indicators(workspace)
    terminal = indicators.read_terminal(workspace)
    services = process.read_service_files(workspace)
    catalogue_path, rules_path = faults.find_catalogue(workspace), demarcation_rules.find_rules(workspace)
    catalogue = faults.read_catalogue(catalogue_path)
    rules = demarcation_rules.read_rules(rules_path)
    domain = Domain(standard, terminal, tuple(services.values()), catalogue, rules)
    scopes = {one.id: one.granularity for one in (*domain.indicators, *terminal)}
    known = frozenset(service.id for service in domain.services)
    causes = frozenset(fault.id for fault in catalogue.faults)
    terminal_path = find_config("terminal_indicators.yaml", workspace)
    refuse(
        _joined(
            {terminal_path: _services_unknown(terminal, known)},
            process.services_broken(services, [one.id for one in (*standard.indicators, *terminal)]),
            _names_broken(workspace, domain, services),
            {path: _faults_unknown(service, causes) for path, service in services.items()},
            {path: indicators.windowless(one.local_indicators, standard) for path, one in services.items()},
            {catalogue_path: faults.signature_broken(catalogue, scopes, known)},
            {
                rules_path: demarcation_rules.rules_file_broken(
                    rules, granularity=scopes, faults=causes, services=known
                )
            },
        )
    )
    return domain


def _names_broken(
    workspace: Path | None, domain: Domain, services: Mapping[Path, ServiceModel]
) -> Mapping[Path, Iterable[str]]:
    """Return the ids and counters that stand for two things."""
    found = {find_config("indicators.yaml", workspace): domain.standard.indicators}
    found |= {path: service.local_indicators for path, service in services.items()}
    return indicators.shared_names(
        found, {find_config("terminal_indicators.yaml", workspace): domain.terminal}
    )


def _services_unknown(terminal: Iterable[TerminalIndicator], services: frozenset[str]) -> Iterator[str]:
    known = services | {faults.PHONE}
    for one in terminal:
        for service in one.applies_to:
            if service not in known:
                yield f"{one.id}: applies_to must be of {', '.join(sorted(known))}, but has {service}"


def _faults_unknown(service: ServiceModel, causes: frozenset[str]) -> Iterator[str]:
    for kqi in service.kqis:
        for fault in kqi.typical_faults:
            if fault not in causes:
                yield f"{kqi.id}: typical_faults must be in the fault catalogue, but {fault} is not"


def _joined(*faults_by_file: Mapping[Path, Iterable[str]]) -> dict[Path, list[str]]:
    joined: dict[Path, list[str]] = defaultdict(list)
    for faults_of in faults_by_file:
        for path, told in faults_of.items():
            joined[path] += told
    return joined
