"""How devices of the simulated fleet behave, as their profiles say."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from test_traffic import HOUR_S, PROFILES

from evaluation.simulation.fleet import population
from evaluation.simulation.profiles import FlowProfiles, read_profiles
from evaluation.simulation.timeline import timeline


@pytest.fixture(scope="module")
def profiles() -> FlowProfiles:
    """The profiles of the checkout."""
    return read_profiles(PROFILES)


def test_payloads_lie_in_the_ranges_of_their_profile(profiles: FlowProfiles) -> None:
    for site in profiles.simulation.sites:
        devices = population(profiles, site, seed=2, devices_per_type=60, days=1)
        for profile in profiles.profiles:
            drawn = [
                d.up.draw(np.random.default_rng(n)) for n, d in enumerate(devices) if d.profile is profile
            ]
            low, high = profile.report_up_bytes or profile.payload_up_bytes
            assert low < np.median(drawn) < high, profile.id
            assert np.mean([0.6 * low <= size <= 1.6 * high for size in drawn]) > 0.85, profile.id


def test_a_device_is_silent_before_it_is_put_into_service(profiles: FlowProfiles) -> None:
    devices = population(profiles, profiles.simulation.sites[0], seed=2, devices_per_type=20, days=4)
    born = [d for d in devices if d.beat.joins_s is not None and d.profile.id not in ("camera", "phone_app")]
    assert len(born) > 10
    for device in born:
        events = timeline(device, np.random.default_rng(0), days=4)
        assert events[0].at == device.beat.joins_s


def test_a_device_without_power_is_silent_and_reports_back(profiles: FlowProfiles) -> None:
    devices = population(profiles, profiles.simulation.sites[0], seed=2, devices_per_type=20, days=9)
    cuts = 0
    for device in devices:
        if device.profile.id in ("camera", "phone_app") or not device.beat.lasting:
            continue
        events = timeline(device, np.random.default_rng(1), days=9)
        for off, back in pairwise(events):
            if off.act == "off":
                assert back.act in ("beat", "off") and (back.act == "off" or back.at - off.at >= 2 * HOUR_S)
                cuts += 1
    assert cuts > 20


def test_a_type_without_a_behaviour_is_named(profiles: FlowProfiles) -> None:
    device = population(profiles, profiles.simulation.sites[0], seed=2, devices_per_type=1, days=1)[0]
    stranger = replace(device, profile=device.profile.model_copy(update={"id": "toaster"}))
    with pytest.raises(LookupError, match="no behaviour is written for type 'toaster'; known are"):
        timeline(stranger, np.random.default_rng(0), days=1)


def test_sites_differ_in_what_their_devices_are_used_to(profiles: FlowProfiles) -> None:
    east, west = (
        population(profiles, s, seed=2, devices_per_type=40, days=1) for s in profiles.simulation.sites
    )
    assert np.median([d.beat.keepalive_s for d in east]) < np.median([d.beat.keepalive_s for d in west])
    assert np.median([d.radio.round_trip_s for d in east]) < np.median([d.radio.round_trip_s for d in west])


# ---- time order ------------------------------------------------------------------------------------------
