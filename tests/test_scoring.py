"""Scores of services: worked by hand, and what must hold whatever is known of a device."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evaluation import scoring
from evaluation.domain import Domain, read_domain
from evaluation.lost_points import known_losses, lost_points
from evaluation.process import SCORE_COLUMNS, ServiceModel, services_broken
from evaluation.score_table import SCORES
from evaluation.scoring_plan import Plan, plan
from features.configuration import find_config
from features.indicators import TerminalFlag, TerminalMeasure

NAN = math.nan


@pytest.fixture(scope="module")
def domain() -> Domain:
    return read_domain()


def indicator(name: str, **other: Any) -> Any:
    """Return an indicator that is excellent at 100 % and unacceptable at 90 %."""
    from features.indicators import Indicator

    form = {
        "id": name, "name": name, "domain": "radio", "unit": "%", "definition": "of a test", "curve": "linear",
        "aggregate": {"kind": "ratio", "numerator": f"{name}_ok", "denominator": f"{name}_all", "scale": 100},
        "direction": "higher_is_better", "excellent": 100, "unacceptable": 90, "typical": 99,
        "healthy_range": [98, 100], "element": "eNB", "granularity": ["device", "cell"], "source": ["a test"],
        "basis": "judgement", "anchor_basis": "judgement",
    }  # fmt: skip
    return Indicator.model_validate(form | other)


REACH = indicator("reach")
DELAY = indicator(
    "delay", unit="ms", aggregate={"kind": "quantile", "sample": "delay_ms", "q": 0.95},
    direction="lower_is_better", excellent=100, unacceptable=10_000, curve="log", typical=200, healthy_range=[100, 500],
)  # fmt: skip
PUSH = indicator("push")


@pytest.fixture(scope="module")
def two_kqis() -> Plan:
    """A service of two processes, of two steps and one, and two KQIs of weights 0.75 and 0.25."""
    content: dict[str, Any] = yaml.safe_load(find_config("services/smoke_sensor.yaml").read_text())
    process, kqi = content["processes"][0], content["kqis"][0]

    def step(seq: int, name: str, *ids: str) -> dict[str, Any]:
        return process["steps"][0] | {"seq": seq, "name": name, "indicators": ids, "budget_ms": 1}

    return plan(
        ServiceModel.model_validate(
            content
            | {
                "count": {"processes": 2, "kqis": 2},
                "processes": [
                    process
                    | {
                        "id": "first",
                        "steps": [step(1, "reach", "reach"), step(2, "send", "delay", "reach")],
                    },
                    process | {"id": "second", "steps": [step(1, "push", "push")]},
                ],
                "kqis": [
                    kqi
                    | {"id": "swift", "processes": ["first"]}
                    | {"expert_weights": [_weight("reach", 0.6), _weight("delay", 0.4)]},
                    kqi | {"id": "told", "processes": ["second"], "expert_weights": [_weight("push", 1.0)]},
                ],
                "service_score": content["service_score"] | {"weights": {"swift": 0.75, "told": 0.25}},
            }
        ),
        [PUSH, DELAY, REACH],
    )


def _weight(name: str, weight: float) -> dict[str, Any]:
    return {"indicator": name, "weight": weight}


def scored(what: Plan, *rows: list[float]) -> scoring.Scores:
    return scoring.score(what, scoring.utilities(what, [np.array(row) for row in rows]))


def test_a_service_worked_by_hand(two_kqis: Plan) -> None:
    """reach 98 % has utility 80; delay 1 s is half way from 10 s to 0.1 s on a logarithm, 50; push 99 % has 90."""
    found = scored(two_kqis, [98.0], [1000.0], [99.0])
    assert found.kqi[:, 0] == pytest.approx([0.6 * 80 + 0.4 * 50, 90], abs=1e-9)
    assert found.score[0] == pytest.approx(68**0.75 * 90**0.25, abs=1e-9)
    assert (found.low[0], found.high[0], found.coverage[0]) == pytest.approx(
        (found.score[0], found.score[0], 1)
    )


def test_lost_points_worked_by_hand(two_kqis: Plan) -> None:
    told = scoring.utilities(two_kqis, [np.array([98.0]), np.array([1000.0]), np.array([99.0])])
    lost = lost_points(two_kqis, told, scoring.score(two_kqis, told))
    whole = 100 - 68**0.75 * 90**0.25
    swift, push = -0.75 * math.log(0.68), -0.25 * math.log(0.9)
    parts = np.array([swift * 12 / 32, swift * 20 / 32, push]) * whole / (swift + push)
    assert lost.by_indicator()[:, 0] == pytest.approx(parts, abs=1e-9)
    assert lost.by_kqi()[:, 0] == pytest.approx([parts[0] + parts[1], parts[2]], abs=1e-9)
    steps = dict(zip([step.name for step in two_kqis.steps], lost.by_step()[:, 0], strict=True))
    assert steps == pytest.approx(  # two steps name reach, and own half of what it cost each
        {"first/1 reach": parts[0] / 2, "first/2 send": parts[0] / 2 + parts[1], "second/1 push": parts[2]},
        abs=1e-9,
    )


def test_steps_and_processes_worked_by_hand(two_kqis: Plan) -> None:
    told = scoring.utilities(
        two_kqis, [np.array([98.0, NAN]), np.array([1000.0, NAN]), np.array([90.0, 99.0])]
    )
    steps = scoring.step_scores(two_kqis, told)
    assert steps[:, 0] == pytest.approx([80, 65, 0])
    known = scoring.step_coverage(two_kqis, told)
    assert known.tolist() == [[1, 0], [1, 0], [1, 1]]
    processes = scoring.process_scores(two_kqis, steps, scoring.process_coverage(two_kqis, known))
    assert processes[:, 0] == pytest.approx([math.sqrt(80 * 65), 0])
    assert np.isnan(processes[0, 1])


def test_a_process_of_which_too_little_is_known_has_no_score(two_kqis: Plan) -> None:
    """Of first only delay is known: nothing of its one step and half of the other, a quarter, and half is needed."""
    told = scoring.utilities(two_kqis, [np.array([NAN]), np.array([100.0]), np.array([100.0])])
    known = scoring.step_coverage(two_kqis, told)
    assert known[:, 0].tolist() == [0, 0.5, 1]
    coverage = scoring.process_coverage(two_kqis, known)
    assert coverage[:, 0].tolist() == [0.25, 1]
    found = scoring.process_scores(two_kqis, scoring.step_scores(two_kqis, told), coverage)
    assert found[:, 0] == pytest.approx([NAN, 100], nan_ok=True)


def test_what_is_unknown_counts_as_nothing_and_may_be_anything(two_kqis: Plan) -> None:
    found = scored(two_kqis, [98.0], [NAN], [99.0])
    assert found.score[0] == pytest.approx(48**0.75 * 90**0.25)
    assert found.high[0] == pytest.approx(88**0.75 * 90**0.25)
    assert found.estimate[0] == pytest.approx(80**0.75 * 90**0.25)
    assert found.coverage[0] == pytest.approx(1 - 0.75 * 0.4)


def test_a_kqi_of_which_less_than_half_is_known_leaves_no_score(two_kqis: Plan) -> None:
    found = scored(two_kqis, [NAN, 98.0], [100.0, 100.0], [99.0, NAN])
    assert np.isnan(found.score).all()
    assert found.high[0] == pytest.approx(100**0.75 * 90**0.25)
    assert found.low[1] == 0


def test_a_broken_kqi_owns_all_that_is_lost(two_kqis: Plan) -> None:
    told = scoring.utilities(two_kqis, [np.array([98.0]), np.array([1000.0]), np.array([50.0])])
    assert scoring.score(two_kqis, told).score[0] == 0
    assert lost_points(two_kqis, told, scoring.score(two_kqis, told)).by_indicator()[:, 0] == pytest.approx(
        [0, 0, 100]
    )


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (0.0, 100),
        (100.0, 100),
        (50.0, 100),
        (10_000.0, 0),
        (1e9, 0),
        (-1.0, NAN),
        (math.inf, NAN),
        (NAN, NAN),
    ],
)
def test_a_logarithmic_utility_ends_at_its_anchors_and_knows_no_negative_delay(
    value: float, wanted: float
) -> None:
    assert scoring.utility(DELAY, np.array([value])) == pytest.approx([wanted], nan_ok=True)


def test_a_flag_is_well_or_not_and_a_measure_of_a_terminal_lies_between_its_anchors(domain: Domain) -> None:
    flag = next(one for one in domain.terminal if isinstance(one, TerminalFlag))
    well = float(flag.healthy_value)
    assert scoring.utility(flag, np.array([well, 1 - well, NAN])) == pytest.approx([100, 0, NAN], nan_ok=True)
    measure = next(one for one in domain.terminal if isinstance(one, TerminalMeasure))
    ends = np.array([measure.excellent, measure.unacceptable, (measure.excellent + measure.unacceptable) / 2])
    assert scoring.utility(measure, ends) == pytest.approx([100, 0, 50])


def test_few_samples_widen_the_interval_and_many_narrow_it(two_kqis: Plan) -> None:
    """Of 10 reaches all went well: Wilson's interval begins at 10 / (10 + 1.96^2), 72.2 %, below what is acceptable."""
    values = [np.array([100.0, 100.0]), np.array([100.0, 100.0]), np.array([100.0, 100.0])]
    samples = [np.array([10.0, 1e9]), np.array([10.0, 10.0]), np.array([1e9, 1e9])]
    told = scoring.utilities(two_kqis, values)
    off = scoring.doubt(two_kqis, values, samples)
    assert off.below[0, 0] == pytest.approx(100) and not off.below[1].any()
    found = scoring.score(two_kqis, told, off)
    assert found.score == pytest.approx([100, 100])
    assert found.low == pytest.approx([40**0.75 * 100**0.25, 100], abs=1e-3)


SERVICES = ("smoke_sensor", "bike_sharing", "video")


@st.composite
def known(draw: st.DrawFn, rows: int = 7) -> tuple[str, np.ndarray]:
    """Draw a service, and for each of its indicators how far the values are from unacceptable (0) to excellent (1)."""
    service = draw(st.sampled_from(SERVICES))
    cell = st.one_of(st.just(NAN), st.floats(-0.5, 1.5))
    return service, draw(arrays("float64", (60, rows), elements=cell))


def told_of(domain: Domain, service: str, shares: np.ndarray) -> tuple[Plan, np.ndarray]:
    what = plan(domain.service(service), domain.measured)
    values = []
    for one, share in zip(what.indicators, shares, strict=False):
        assert not isinstance(one, TerminalFlag)
        if getattr(one, "curve", "linear") == "log":
            values.append(one.unacceptable * (one.excellent / one.unacceptable) ** share)
        else:
            values.append(one.unacceptable + (one.excellent - one.unacceptable) * share)
    return what, scoring.utilities(what, values)


@settings(max_examples=50, deadline=None)
@given(known(), st.data())
def test_what_holds_of_every_score(
    domain: Domain, drawn: tuple[str, np.ndarray], data: st.DataObject
) -> None:
    what, told = told_of(domain, *drawn)
    found = scoring.score(what, told)
    for one in (found.floor, found.ceiling, found.low, found.high):
        assert ((one >= 0) & (one <= 100)).all()
    assert (found.low <= found.floor).all() and (found.floor <= found.ceiling).all()
    assert (found.ceiling <= found.high).all()
    lost = lost_points(what, told, found)
    for parts in (lost.pairs, lost.by_indicator(), lost.by_kqi(), lost.by_step()):
        assert (parts >= 0).all()
        assert parts.sum(axis=0) + found.floor == pytest.approx(100, abs=1e-9)
    by_known = known_losses(what, told, found).by_indicator()
    assert by_known.sum(axis=0) + found.ceiling == pytest.approx(100, abs=1e-9)
    assert not by_known[np.isnan(told[: what.weighed])].any()
    row = data.draw(st.integers(0, len(told) - 1))
    hidden = told.copy()
    hidden[row] = NAN
    less = scoring.score(what, hidden)
    assert (less.floor <= found.floor + 1e-9).all()  # unknown never raises a score
    assert not (np.isnan(found.score) & ~np.isnan(less.score)).any()
    assert (less.high >= found.high - 1e-9).all()


@settings(max_examples=50, deadline=None)
@given(known(), st.integers(0, 59), st.floats(0, 1))
def test_a_better_indicator_never_lowers_a_score(
    domain: Domain, drawn: tuple[str, np.ndarray], row: int, by: float
) -> None:
    service, shares = drawn
    what, told = told_of(domain, service, shares)
    better = shares.copy()
    better[row] += by
    found, other = scoring.score(what, told), scoring.score(what, told_of(domain, service, better)[1])
    for name in ("floor", "ceiling", "low", "high", "estimate"):
        first, second = getattr(found, name), getattr(other, name)
        assert (np.isnan(first) | (second >= first - 1e-9)).all()


@settings(max_examples=30, deadline=None)
@given(known(rows=9), st.permutations(range(9)), st.integers(1, 9))
def test_neither_the_order_of_rows_nor_the_size_of_a_batch_matters(
    domain: Domain, drawn: tuple[str, np.ndarray], order: list[int], size: int
) -> None:
    what, told = told_of(domain, *drawn)
    whole = scoring.score(what, told)
    shuffled = scoring.score(what, told[:, order])
    assert np.array_equal(shuffled.floor, whole.floor[order])
    parts = [scoring.score(what, told[:, at : at + size]) for at in range(0, 9, size)]
    assert np.array_equal(np.concatenate([part.floor for part in parts]), whole.floor)
    assert np.array_equal(np.concatenate([part.high for part in parts]), whole.high)


def test_a_service_that_names_a_strange_indicator_is_refused(two_kqis: Plan) -> None:
    with pytest.raises(LookupError, match="smoke_sensor must name known indicators, but has delay"):
        plan(two_kqis.service, [REACH, PUSH])


def test_min_coverage_is_a_share() -> None:
    content = yaml.safe_load(find_config("services/video.yaml").read_text())
    content["service_score"]["min_coverage"] = 1.5
    with pytest.raises(ValueError, match="min_coverage"):
        ServiceModel.model_validate(content)


def ten_tenths(two_kqis: Plan, weight: float, **score: Any) -> Plan:
    """Return a plan of one KQI that weighs as many indicators as make 1 of a weight, and these."""
    names = [f"part_{n}" for n in range(round(1 / weight))]
    process, kqi = two_kqis.service.processes[0], two_kqis.service.kqis[0]
    content = two_kqis.service.model_dump(by_alias=True) | {
        "processes": [
            process.model_dump(by_alias=True)
            | {"steps": [process.steps[0].model_dump(by_alias=True) | {"indicators": names}]}
        ],
        "kqis": [
            kqi.model_dump(by_alias=True) | {"expert_weights": [_weight(name, weight) for name in names]}
        ],
        "count": {"processes": 1, "kqis": 1},
        "service_score": {
            "method": "weighted_geometric_mean",
            "basis": "judgement",
            "weights": {"swift": 1.0},
        }
        | score,
    }
    return plan(ServiceModel.model_validate(content), [indicator(name) for name in names])


def test_a_coverage_is_enough_whatever_its_last_digit(two_kqis: Plan) -> None:
    """Ten times 0.1 is 0.9999999999999999 in a float: all is known, and all must be."""
    whole = ten_tenths(two_kqis, 0.1, min_coverage=1.0)
    assert scored(whole, *[[100.0]] * 10).score == pytest.approx([100], abs=1e-9)
    assert np.isnan(scored(whole, *[[100.0]] * 9, [NAN]).score).all()
    half = ten_tenths(two_kqis, 0.1, min_coverage=0.3)  # 0.1 + 0.1 + 0.1 is 0.30000000000000004
    assert not np.isnan(scored(half, *[[100.0]] * 3, *[[NAN]] * 7).score).any()


def test_weights_of_a_file_that_were_rounded_make_a_whole(two_kqis: Plan) -> None:
    """Three times 0.333333333 is 1e-9 short of 1, and all that is excellent is 100 all the same."""
    thirds = ten_tenths(two_kqis, 0.333333333)
    assert scored(thirds, *[[100.0]] * 3).score == pytest.approx([100], abs=1e-11)
    told = scoring.utilities(thirds, [np.array([95.0])] * 3)
    found = scoring.score(thirds, told)
    assert lost_points(thirds, told, found).pairs.sum() + found.floor[0] == pytest.approx(100, abs=1e-11)


@pytest.mark.parametrize("service", ["smoke_sensor", "bike_sharing", "video"])
def test_no_more_than_a_hundred_points_are_told_lost(domain: Domain, service: str) -> None:
    """Parts of a KQI that is broken make 100.00000000000003 in one row of three, where nearly all is worst."""
    what = plan(domain.service(service), domain.measured)
    told = np.random.default_rng(1).uniform(-3000, 100, (len(what.ids), 1000)).clip(0)
    found = scoring.score(what, told)
    lost = lost_points(what, told, found)
    assert lost.pairs.sum(axis=0).max() > 100
    for parts in (lost.by_indicator(), lost.by_kqi(), lost.by_step()):
        assert parts.max() <= 100
        assert parts.sum(axis=0) == pytest.approx(lost.total(), abs=1e-9)
    assert lost.total().max() == 100
    assert lost.total() == pytest.approx(100 - found.floor, abs=1e-9)


@pytest.mark.parametrize("weight", [math.nan, math.inf])
def test_a_weight_that_is_no_number_is_refused(weight: float) -> None:
    content = yaml.safe_load(find_config("services/video.yaml").read_text())
    content["service_score"]["weights"] |= {content["kqis"][0]["id"]: weight}
    with pytest.raises(ValueError, match="finite number"):
        ServiceModel.model_validate(content)


def test_a_kqi_is_not_named_as_a_column_of_scores(two_kqis: Plan) -> None:
    assert tuple(column.name for column in SCORES) == SCORE_COLUMNS
    service = two_kqis.service
    renamed = service.model_copy(
        update={"kqis": (service.kqis[0].model_copy(update={"id": "coverage"}), service.kqis[1])}
    )
    broken = services_broken({Path("own.yaml"): renamed}, two_kqis.ids)[Path("own.yaml")]
    assert any(line.startswith("coverage: the id of a KQI must be no column of scores") for line in broken)


@pytest.mark.parametrize("value", [1e308, -1e308, 5e-324, -0.0])
def test_a_value_at_the_end_of_floats_has_a_utility(value: float) -> None:
    for one in (REACH, DELAY):
        assert 0 <= np.nan_to_num(scoring.utility(one, np.array([value])))[0] <= 100
