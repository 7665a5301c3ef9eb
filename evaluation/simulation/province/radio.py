"""Laws of the NB-IoT radio: link budget, interference in milliwatts, coverage levels, repetitions, random access.

The constants are those of `radio_physics` in configs/fault_catalogue.yaml, but for those "fitted to the modem logs":
those of docs/nbiot.md, Ericsson, Huawei and ZTE pooled, by hand, against distances of docs/reality.md.
"""

import numpy as np

NRS_POWER_DBM = 32.0  # per NRS element, in-band boosted
ANTENNA_GAIN_DB = 15.0
FEEDER_LOSS_DB = 3.0
UE_POWER_DBM = 23.0
UE_NOISE_DBM = -125.0  # thermal -132.2 dBm in 15 kHz plus 7 dB noise figure
ENB_NOISE_DBM = -128.2  # thermal plus 4 dB noise figure
MAX_UL_REPETITIONS = 128
MAX_DL_REPETITIONS = 2048
MEASURED_NRSRP_DBM = (-156.0, -44.0)  # range of a report, 3GPP TS 36.133
MEASURED_NSINR_DB = (-15.0, 30.0)  # what a module reports at most
_REPETITION_GAIN = 0.85  # of the ideal 10*log10(n): channel estimation gets worse
_DL_TARGET_DB = 4.0  # NSINR at which one transmission of NPDSCH is enough
_UL_TARGET_DB = (
    -4.0
)  # SNR of a tone at which one transmission of NPUSCH is enough; fitted to the modem logs: air time
_POWER_CONTROL_SNR_DB = 12.0  # the eNB steers uplink power to this
_NPRACH_TONE_GAIN_DB = 6.0  # 3.75 kHz instead of 15 kHz
_NPRACH_REPETITIONS = np.array([2.0, 8.0, 32.0])  # of the three coverage levels
LEAST_UL = np.array(
    [1, 2, 4]
)  # configured least repetitions of the three levels; fitted to the modem logs: air time
_LEAST_DL = np.array([1, 4, 8])  # fitted to the modem logs: access and sending
PREAMBLE_ATTEMPTS = 10
_UNIT_MS = (
    60.0  # of one repetition, its grant and its acknowledgement; fitted to the modem logs: access and sending
)
SETUP_MS = (
    1200.0  # scheduling, NPDCCH periods, acknowledgements and release of one access; fitted to the modem logs
)
SETUP_SIGMA = 0.5  # of its logarithm, from access to access; fitted to the modem logs within a network
NETWORK_SETUP = np.array([1.0, 1.3, 0.65])  # of three vendors; fitted to how far apart the logs' networks lie
SETUP_IN_RRC = 0.35  # of it before SetupComplete, the rest after; judged: the logs tell the sum only
MODULE_OFFSET_DB = np.array(
    [7.5, -7.5]
)  # of two makers' modules; fitted to the modem logs, maker against maker
CHOICE_SD_DB = (
    3.0  # between NRSRP as told and as compared, access to access; judged: it is measured to some dB only
)


def to_milliwatt(dbm: np.ndarray | float) -> np.ndarray:
    """Return power in mW."""
    return np.asarray(10.0 ** (np.asarray(dbm, dtype="float64") / 10.0))


def to_dbm(milliwatt: np.ndarray | float) -> np.ndarray:
    """Return power in dBm."""
    return np.asarray(10.0 * np.log10(milliwatt))


def path_loss_db(distance_km: np.ndarray | float) -> np.ndarray:
    """Return the loss of the way at 900 MHz, antenna gain and feeder apart. Source: 3GPP TR 45.820."""
    return np.asarray(120.9 + 37.6 * np.log10(np.maximum(distance_km, 0.035)))


def nrsrp_dbm(loss_db: np.ndarray) -> np.ndarray:
    """Return the power of the reference signal at a device behind `loss_db` of way, walls and shadow."""
    return np.asarray(NRS_POWER_DBM + ANTENNA_GAIN_DB - FEEDER_LOSS_DB - loss_db)


def nsinr_db(nrsrp: np.ndarray, interference_mw: np.ndarray) -> np.ndarray:
    """Return NSINR: noise and interference add in mW. interference_mw: at the device, behind the same walls."""
    return np.asarray(nrsrp - to_dbm(to_milliwatt(UE_NOISE_DBM) + interference_mw))


def uplink_snr_db(nrsrp: np.ndarray, ul_noise_dbm: np.ndarray | float) -> np.ndarray:
    """Return the SNR of one 15 kHz tone at full power: way down and way up lose the same."""
    return np.asarray(UE_POWER_DBM - (NRS_POWER_DBM - nrsrp) - ul_noise_dbm)


def coverage_level(nrsrp: np.ndarray, ce1_dbm: np.ndarray | float, ce2_dbm: np.ndarray | float) -> np.ndarray:
    """Return 0, 1 or 2: a device compares what it measures with the two thresholds of its cell."""
    return (nrsrp <= ce1_dbm).astype("int64") + (nrsrp <= ce2_dbm)


def _least_power_of_two(shortfall_db: np.ndarray) -> np.ndarray:
    doublings = np.ceil(np.maximum(shortfall_db, 0.0) / (_REPETITION_GAIN * 10.0 * np.log10(2.0)) - 1e-9)
    return np.asarray(2.0**doublings)


def ul_repetitions(snr_db: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Return NPUSCH repetitions: the least power of two that makes up for the missing SNR, at most 128."""
    return np.asarray(
        np.minimum(
            np.maximum(_least_power_of_two(_UL_TARGET_DB - snr_db), LEAST_UL[level]), MAX_UL_REPETITIONS
        )
    )


def dl_repetitions(nsinr: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Return NPDSCH repetitions: the least power of two that makes up for the missing NSINR, at most 2048."""
    needed = _least_power_of_two(_DL_TARGET_DB - nsinr)
    return np.asarray(np.minimum(np.maximum(needed, _LEAST_DL[level]), MAX_DL_REPETITIONS))


def uplink_bler(snr_db: np.ndarray, repetitions: np.ndarray, noise_rise_db: np.ndarray | float) -> np.ndarray:
    """Return the share of first transmissions that fail.

    Link adaptation holds 8 %; where repetitions run out it cannot, and a noise that comes and goes it follows late.
    """
    margin = snr_db + _REPETITION_GAIN * 10.0 * np.log10(repetitions)
    out_of_reach = 0.6 / (1.0 + np.exp(np.clip((margin - _UL_TARGET_DB + 1.0) / 1.2, -30, 30)))
    late = 0.009 * np.asarray(noise_rise_db) / (1.0 + np.exp(np.clip((snr_db - 25.0) / 6.0, -30, 30)))
    return np.asarray(np.clip(0.08 + out_of_reach + late, 0.0, 0.95))


def at_full_power(nrsrp: np.ndarray, ul_noise_dbm: np.ndarray | float) -> np.ndarray:
    """Tell whether power control asks for more than a device has: its power headroom is in the lowest level."""
    return np.asarray(uplink_snr_db(nrsrp, ul_noise_dbm) < _POWER_CONTROL_SNR_DB)


def preamble_success(snr_db: np.ndarray, level: np.ndarray, nprach_load: np.ndarray | float) -> np.ndarray:
    """Return the chance of one preamble: nobody else chose it, and the eNB hears it. nprach_load: %."""
    heard = snr_db + _NPRACH_TONE_GAIN_DB + 10.0 * np.log10(_NPRACH_REPETITIONS[level]) - 1.0
    return np.asarray(
        np.exp(-np.asarray(nprach_load) / 100.0) / (1.0 + np.exp(-np.clip(heard / 1.2, -30, 30)))
    )


def air_time_ms(dl_repetition: np.ndarray, ul_repetition: np.ndarray) -> np.ndarray:
    """Return how long one exchange takes on an idle cell: repetitions up and down are sent one after another."""
    return np.asarray(_UNIT_MS * (dl_repetition + ul_repetition))
