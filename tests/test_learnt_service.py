"""Anchors and weights learnt from cases: known ones are found again, and the score that comes of them is the risk."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from evaluation.anchor_fit import FEWEST, fit_anchors
from evaluation.domain import read_domain
from evaluation.learnt_service import learn_service
from evaluation.process import ServiceModel
from evaluation.scoring import score, utilities, utility
from evaluation.scoring_plan import plan
from features.configuration import read_config
from features.indicators import rules_broken
from serving.cli import app

DRAFT = Path(__file__).parents[1] / "benchmarks" / "youtube_sessions.yaml"
RATE, USE, REDUNDANT = "yt_link_rate", "yt_link_use", "yt_redundant_share"
# the truth of the cases: 0 and 100 of each indicator, its weight; the strength of all
TRUTH = {RATE: (0.4, 2.0, 0.6), REDUNDANT: (30.0, 5.0, 0.4)}
STRENGTH, INTERCEPT = 14.0, -6.0


@pytest.fixture(scope="module")
def draft() -> ServiceModel:
    return read_config(DRAFT, ServiceModel)


def cases(count: int = 6000, seed: int = 3) -> pd.DataFrame:
    """Return cases whose stalls come of the rate of the link and of redundant bytes, and not of the link's use."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "device_id": [f"session-{n}" for n in range(count)],
            RATE: np.exp(rng.uniform(np.log(0.2), np.log(4), count)),
            USE: rng.uniform(10, 80, count),
            REDUNDANT: rng.uniform(0, 40, count),
        }
    )
    lost = sum(weight * (1 - _share(table[name], *ends)) for name, (*ends, weight) in TRUTH.items())
    risk = 1 / (1 + np.exp(-INTERCEPT - STRENGTH * lost))
    return table.assign(stalls=(rng.random(count) < risk) * rng.integers(1, 4, count), risk=risk)


def _share(values: pd.Series, worst: float, best: float) -> pd.Series:
    if values.name == RATE:
        values, worst, best = np.log(values), np.log(worst), np.log(best)
    return ((values - worst) / (best - worst)).clip(0, 1)


def test_curves_and_weights_that_made_the_cases_are_found_again(draft: ServiceModel) -> None:
    table = cases()
    learnt = learn_service(draft, "yt_stalls", cases=table, measured=table["stalls"], only=[*TRUTH, USE])
    found = {one.id: one for one in learnt.service.local_indicators}
    weights = {one.indicator: one.weight for one in learnt.service.kqis[0].expert_weights}
    for name, (*ends, weight) in TRUTH.items():
        off = utility(found[name], table[name].to_numpy()) - 100 * _share(table[name], *ends)
        assert np.abs(off).mean() < 5, name
        assert weights[name] == pytest.approx(weight, abs=0.05), name
        assert found[name].anchor_basis == "learnt"
    assert weights.get(USE, 0.0) < 0.05
    assert learnt.fitted.strength == pytest.approx(STRENGTH, rel=0.15)
    assert (learnt.cases, learnt.ill) == (len(table), (table["stalls"] > 0).sum())


def test_a_risk_that_rises_twice_is_learnt_as_a_curve_with_a_flat_part(draft: ServiceModel) -> None:
    """The risk rises below 0.5 Mbit/s and again from 2 to 1.5 Mbit/s; between these it is one half."""
    rng = np.random.default_rng(0)
    rate = np.exp(rng.uniform(np.log(0.2), np.log(4), 20_000))
    lost = 0.5 * (np.clip((0.5 - rate) / 0.2, 0, 1) + np.clip((2 - rate) / 0.5, 0, 1))
    ill = rng.random(len(rate)) < 1 / (1 + np.exp(6 - 12 * lost))
    table = pd.DataFrame({RATE: rate})
    learnt = learn_service(draft, "yt_stalls", cases=table, measured=pd.Series(ill * 1.0), only=[RATE])
    one = next(one for one in learnt.service.local_indicators if one.id == RATE)
    assert len(one.points) >= 2 and not list(rules_broken([one]))
    told = utility(one, np.array([0.22, 0.75, 1.0, 3.5]))
    assert told == pytest.approx([0, 50, 50, 100], abs=8)


def test_the_score_of_a_learnt_service_is_the_risk_and_its_points_have_owners(draft: ServiceModel) -> None:
    learnt = learn_service(draft, "yt_stalls", cases=cases(), measured=cases()["stalls"], only=list(TRUTH))
    later = cases(2000, seed=4)
    what = plan(learnt.service, learnt.service.local_indicators)
    told = score(what, utilities(what, [later[one].to_numpy() for one in what.ids[: what.weighed]]))
    assert np.abs(learnt.fitted.risk(told.score) - later["risk"]).mean() < 0.03
    assert np.corrcoef(learnt.fitted.risk(told.score), later["risk"])[0, 1] > 0.99


def test_an_indicator_that_is_better_where_more_cases_are_ill_has_no_weight(draft: ServiceModel) -> None:
    rng = np.random.default_rng(0)
    one = next(one for one in draft.local_indicators if one.id == RATE)  # higher is better
    other = next(one for one in draft.local_indicators if one.id == USE)
    rate, use = rng.uniform(1, 2, 1000), rng.uniform(10, 80, 1000)
    ill = rng.random(1000) < 1 / (1 + np.exp(-8 * (rate - 1.5) - 0.2 * (use - 45)))
    fitted = fit_anchors([one, other], np.stack([rate, use], axis=1), ill)
    assert fitted.weights[0] < 0.01


def test_a_case_of_which_one_indicator_is_unknown_teaches_nothing(draft: ServiceModel) -> None:
    table = cases(2000)
    strange = table.assign(**{RATE: np.nan}, stalls=3)
    both = pd.concat([table, strange], ignore_index=True)
    names = list(TRUTH)
    alone = learn_service(draft, "yt_stalls", cases=table, measured=table["stalls"], only=names)
    assert learn_service(draft, "yt_stalls", cases=both, measured=both["stalls"], only=names) == alone


def test_what_weighs_next_to_nothing_falls_and_the_rest_is_learnt_as_if_it_had_not_been_there(
    draft: ServiceModel,
) -> None:
    table = cases(3000).assign(**{USE: lambda t: 100 - 20 * t["stalls"]})  # the less use, the more stalls
    names = [*TRUTH, USE]
    learnt = learn_service(draft, "yt_stalls", cases=table, measured=table["stalls"], only=names)
    alone = learn_service(draft, "yt_stalls", cases=table, measured=table["stalls"], only=list(TRUTH))
    assert learnt == alone
    use = next(one for one in learnt.service.local_indicators if one.id == USE)
    assert use.anchor_basis == "judgement"


def test_cases_that_go_ill_where_all_is_better_are_refused(draft: ServiceModel) -> None:
    table = cases(2000).assign(stalls=lambda t: (t[RATE] > 1) * 1)
    with pytest.raises(ValueError, match=r"worse, in its direction, .* none of yt_link_rate is"):
        learn_service(draft, "yt_stalls", cases=table, measured=table["stalls"], only=[RATE])


@pytest.mark.parametrize(
    ("change", "error", "rule"),
    [
        ({"stalls": 0}, ValueError, rf"at least {FEWEST} cases .* there are 2000 and 0"),
        ({RATE: 1.0}, ValueError, "yt_link_rate must differ from case to case"),
        ({RATE: -1.0}, ValueError, "yt_link_rate must not be below 0 on a logarithmic curve"),
    ],
)
def test_cases_that_cannot_teach_are_refused(
    draft: ServiceModel, change: dict[str, float], error: type[Exception], rule: str
) -> None:
    table = cases(2000).assign(**change)
    with pytest.raises(error, match=rule):
        learn_service(draft, "yt_stalls", cases=table, measured=table["stalls"], only=list(TRUTH))


def test_what_is_not_there_is_told(draft: ServiceModel) -> None:
    table = cases(200)
    with pytest.raises(LookupError, match="youtube_sessions has no KQI 'stalls'; it has yt_stalls"):
        learn_service(draft, "stalls", cases=table, measured=table["stalls"])
    with pytest.raises(LookupError, match=r"lacks .*yt_need_144p"):
        learn_service(draft, "yt_stalls", cases=table, measured=table["stalls"])
    with pytest.raises(LookupError, match="but not vid_rsrp"):
        learn_service(draft, "yt_stalls", cases=table, measured=table["stalls"], only=["vid_rsrp"])


def test_an_indicator_of_other_services_keeps_its_anchors() -> None:
    service = read_domain().service("smoke_sensor")
    kqi = service.kqis[0]
    table = pd.DataFrame({weight.indicator: [1.0] for weight in kqi.expert_weights})
    with pytest.raises(ValueError, match=r"anchors are learnt for indicators of smoke_sensor and .* alone"):
        learn_service(service, kqi.id, cases=table, measured=pd.Series([1.0]))


def test_the_commands_lead_from_measured_cases_to_scores(tmp_path: Path) -> None:
    services = tmp_path / "ws" / "configs" / "services"
    services.mkdir(parents=True)
    (services / DRAFT.name).write_bytes(DRAFT.read_bytes())
    table = cases(1500)
    ids = [one["id"] for one in yaml.safe_load(DRAFT.read_text())["local_indicators"]]
    table = table.assign(**{one: 1.0 + np.arange(1500) % 7 for one in ids if one not in table})
    table.to_parquet(tmp_path / "cases.parquet")
    told = ["--service", "youtube_sessions", "--workspace", str(tmp_path / "ws")]
    told += ["--table", str(tmp_path / "cases.parquet")]
    learn = ["indicators", "learn", *told, "--kqi", "yt_stalls", "--measured", "stalls"]
    assert _ran([*learn, "--out", str(services / DRAFT.name)]).startswith("yt_stalls: 1,500 cases")
    assert "learnt" in {
        one["anchor_basis"] for one in yaml.safe_load((services / DRAFT.name).read_text())["local_indicators"]
    }
    out = tmp_path / "scores.parquet"
    _ran(["score", *told, "--at", "2026-03-02T06:15:00", "--out", str(out)])
    scores = pd.read_parquet(out)
    assert scores["score"].corr(table["risk"], method="spearman") < -0.97
    assert set(scores["worst_indicator"].dropna()) <= {*table.columns}


def _ran(words: list[str]) -> str:
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output
