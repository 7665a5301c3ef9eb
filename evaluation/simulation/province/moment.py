"""The state in which each attempt of an area's day finds the network: its link, loads and faults."""

from dataclasses import dataclass, field

import numpy as np

from evaluation.simulation.province import queues, radio
from evaluation.simulation.province.actuators import Pressure
from evaluation.simulation.province.attempts import NOBODY, Attempts
from evaluation.simulation.province.daylong import misuse
from evaluation.simulation.province.faults import DAY_S, Exposed, Happening, expose
from evaluation.simulation.province.tally import Tally
from evaluation.simulation.province.topology import Area

_ALWAYS_ON = 0.12  # of the power of a cell: reference and synchronisation signals
SEARCHING = 0.4  # of the attempts when a cell is gone: the device has not found another yet
_FADING_DB = 2.0  # from attempt to attempt
_TONE_SHARE = 0.3 / (
    900.0 * 12
)  # of a cell's 12 tones in 15 min that one repetition of an attempt's blocks takes:
# 4 transport blocks of 9 resource units, each 8 ms on one tone
_FRAME_SHARE = 0.012 / 900.0  # of its downlink: 4 blocks of 3 subframes of 1 ms
_HANGING = 0.5  # of outages, in which the system still opens TCP for an application that hangs; judgement
_PULSE_DEATH = 0.15  # of the exchanges of a nearly empty battery
_FULL = 130.0  # % of a channel offered, beyond which all the more is refused


@dataclass
class Link:
    """The radio link of each attempt to the cell that serves it."""

    nrsrp: np.ndarray
    nsinr: np.ndarray
    ul_noise_dbm: np.ndarray
    noise_rise_db: np.ndarray
    snr_db: np.ndarray
    level: np.ndarray
    ul_repetition: np.ndarray
    dl_repetition: np.ndarray
    bler: np.ndarray


@dataclass
class Load:
    """What is offered to the channels of each attempt's cell and to its MME, %."""

    ul_utilisation: np.ndarray
    dl_utilisation: np.ndarray
    nprach_load: np.ndarray
    mme_utilisation: np.ndarray


@dataclass
class Moment(Load, Link):
    """One value an attempt, of attempts in the area's own NB-IoT cells. utilisation: %. own: has a device.

    meant_cell: where an attempt would be if every cell served. searching: it is not served, and has not found another
    cell yet. charge: %, of the battery; morning: of that of each device, without a fault. gauges: counted at
    meant_cell; tally: counted at cell.
    dice: the random numbers of the steps. rach_ms, waited_ms: what earlier steps took. refused_s6a, refused_pdn:
    drawn at attach, told at the steps after it. silent: the device sends nothing; browned_out: for its pulse took the
    voltage down, so that it restarts. repeats: messages sent again. queued_ms: how long a command waited.
    """

    area: Area
    attempts: Attempts
    pressure: Pressure
    dice: np.random.Generator
    cell: np.ndarray
    charge: np.ndarray
    silent: np.ndarray
    browned_out: np.ndarray
    lwm2m: np.ndarray
    places: dict[str, np.ndarray]
    meant_cell: np.ndarray
    searching: np.ndarray
    morning: np.ndarray
    tally: Tally = field(default_factory=Tally)
    gauges: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        size = len(self.attempts)
        self.rach_ms, self.waited_ms = np.zeros(size), np.zeros(size)
        self.repeats, self.queued_ms = np.zeros(size), np.zeros(size)
        network = radio.NETWORK_SETUP[self.area.cells.vendor[self.cell]]
        self.setup_factor = queues.skewed(self.dice, network, radio.SETUP_SIGMA, size)
        self.stale = np.zeros(size, bool)  # a lock goes to an address of yesterday
        self.served = np.zeros(size, bool)  # the MME heard the device
        outage = self.pressure.of("access_outage")
        self.unanswered = self.dice.random(size) < outage  # an outage outlasts an attempt
        self.hanging = self.unanswered & (self.dice.random(size) < _HANGING)
        self.refused_s6a, self.refused_pdn = np.zeros(size, bool), np.zeros(size, bool)

    def __len__(self) -> int:
        return len(self.attempts)

    @property
    def own(self) -> np.ndarray:
        """Whether an attempt is of a device of the province."""
        return np.asarray(self.attempts.device != NOBODY)

    def of(self, actuator: str, rows: np.ndarray) -> np.ndarray:
        """Return what faults make of an actuator at some rows."""
        return self.pressure.of(actuator, rows)

    def cut_off(self, rows: np.ndarray) -> np.ndarray:
        """Return at which rows the gateway drops every datagram, for the package is used up."""
        return np.asarray(self.of("quota_used", rows) > 0)

    def voltage_gone(self, rows: np.ndarray) -> np.ndarray:
        """Draw at which rows an exchange ends because the transmit pulse takes a weak battery down."""
        return self.happens(rows, _PULSE_DEATH * _weakness(self.charge[rows]))

    def happens(self, rows: np.ndarray, chance: np.ndarray | float) -> np.ndarray:
        """Return at which rows something of this chance happens."""
        return np.asarray(self.dice.random(len(rows)) < chance)

    def ul_queue(self, rows: np.ndarray) -> np.ndarray:
        """Return by how much the uplink queue lengthens air time, against a cell of usual load."""
        return np.asarray(queues.delay_factor(self.ul_utilisation[rows]) / queues.delay_factor(22.0))

    def dl_queue(self, rows: np.ndarray) -> np.ndarray:
        """Return the same of the downlink."""
        return np.asarray(queues.delay_factor(self.dl_utilisation[rows]) / queues.delay_factor(25.0))

    def climb(self, rows: np.ndarray) -> None:
        """Access one level up at some rows: more repetitions from here on."""
        self.level[rows] = np.minimum(self.level[rows] + 1, 2)
        self.ul_repetition[rows] = radio.ul_repetitions(self.snr_db[rows], self.level[rows])
        self.dl_repetition[rows] = radio.dl_repetitions(self.nsinr[rows], self.level[rows])
        self.bler[rows] = radio.uplink_bler(
            self.snr_db[rows], self.ul_repetition[rows], self.noise_rise_db[rows]
        )

    def setup_ms(self, rows: np.ndarray) -> np.ndarray:
        """Return what an access takes beside its repetitions: a network's way of scheduling and release."""
        return np.asarray(self.setup_factor[rows] * radio.SETUP_MS)

    def air_ms(self, rows: np.ndarray) -> np.ndarray:
        """Return what one exchange takes on the air, queues and all."""
        up = radio.air_time_ms(np.zeros(len(rows)), self.ul_repetition[rows]) * self.ul_queue(rows)
        down = radio.air_time_ms(self.dl_repetition[rows], np.zeros(len(rows))) * self.dl_queue(rows)
        return np.asarray(up + down)


def daily_profile(at_s: np.ndarray) -> np.ndarray:
    """Return the load of a moment over that of the mean one: low at 3 h, high at 15 to 20 h."""
    hour = at_s / 3600.0 % 24.0
    return np.asarray(
        1.0 + 0.3 * np.sin((hour - 10.0) / 24.0 * 2 * np.pi) + 0.08 * np.sin((hour - 16.0) / 6.0 * np.pi)
    )


def places_of(
    area: Area, attempts: Attempts, cell: np.ndarray, dice: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return the element of each shared scope for each attempt; of the background, any."""
    size, names = len(attempts), area.plan.names
    known, device = attempts.device != NOBODY, np.maximum(attempts.device, 0)
    anywhere = dice.integers(0, len(names["platform_node"]), size)
    nb_apps = sum(1 for name in names["app"] if "-video-" not in name)
    return {
        "cell": cell,
        "tac": np.full(size, area.number),
        "mme": np.full(size, area.mme),
        "city": np.full(size, area.city),
        "province": np.zeros(size, "int64"),
        "platform_node": np.where(known, area.devices.node[device], anywhere),
        "app": np.where(known, area.devices.app[device], dice.integers(0, nb_apps, size)),
        "fleet": np.where(known, area.devices.fleet[device], -1),
        "device": np.where(known, attempts.device, -1),
    }


def find(
    area: Area, attempts: Attempts, faults: list[Happening], *, charge: np.ndarray, dice: np.random.Generator
) -> Moment:
    """Return the state in which attempts find the network. faults: all that may touch the day, in their order.

    charge: %, of the battery of each device of the area, unless a fault lowers it.
    """
    power = _received(area, attempts, dice)
    rows = np.arange(len(attempts))
    cell = meant = power.argmax(axis=1)
    places = places_of(area, attempts, cell, dice)
    pressure = _expose(area, attempts, places, faults)
    down = dice.random(len(attempts)) < pressure.of("cell_outage")
    searching = down & (dice.random(len(attempts)) < SEARCHING)
    if down.any():  # the others have fallen back on the next best cell
        moved = down & ~searching
        power[rows[moved], cell[moved]] = -200.0
        cell = power.argmax(axis=1)
    link = _link(area, attempts, power, pressure, dice)
    left = np.where(attempts.device != NOBODY, charge[np.maximum(attempts.device, 0)], 100.0)
    left = np.minimum(left, pressure.of("battery_level"))
    browned_out = _browned_out(left, link.level, dice)
    load = _loads(area, attempts, cell, link, pressure)
    return Moment(
        **vars(link),
        **vars(load),
        area=area,
        attempts=attempts,
        pressure=pressure,
        dice=dice,
        cell=cell,
        charge=left,
        silent=browned_out | _never_sends(attempts, pressure, left),
        browned_out=browned_out,
        lwm2m=_speaks_lwm2m(area, attempts),
        places=places | {"cell": cell},
        meant_cell=meant,
        searching=searching,
        morning=charge,
    )


def _link(
    area: Area, attempts: Attempts, power: np.ndarray, pressure: Pressure, dice: np.random.Generator
) -> Link:
    """Return the link of each attempt to its strongest cell. power: NRSRP of each cell, (n, c)."""
    rows, cell = np.arange(len(attempts)), power.argmax(axis=1)
    walls = pressure.of("attenuation_db")
    nrsrp = (
        power[rows, cell] - walls - pressure.of("antenna_loss_db") + dice.normal(0, _FADING_DB, len(attempts))
    )
    busy = daily_profile(attempts.at_s)
    usual = area.plan.settings.base_utilisation
    activity = np.minimum(_ALWAYS_ON + usual.dl / 100.0 * area.cells.load[None, :] * busy[:, None], 1.0)
    others = radio.to_milliwatt(power) * activity
    others[rows, cell] = 0.0
    interference = others.sum(axis=1) * radio.to_milliwatt(pressure.of("interference_power_db"))
    nsinr = radio.nsinr_db(nrsrp, interference * radio.to_milliwatt(-walls))
    nsinr = np.clip(nsinr, *radio.MEASURED_NSINR_DB)
    rise = pressure.of("noise_power_db")
    noise = usual_noise_dbm(area, cell, busy) + rise
    snr = radio.uplink_snr_db(nrsrp, noise)
    compared = nrsrp + _module_offset_db(area, attempts, dice)
    level = radio.coverage_level(compared, area.cells.ce1_dbm[cell], area.cells.ce2_dbm[cell])
    up = radio.ul_repetitions(snr, level)
    return Link(
        nrsrp, nsinr, noise, rise, snr, level, up, radio.dl_repetitions(nsinr, level),
        radio.uplink_bler(snr, up, rise),
    )  # fmt: skip


def usual_noise_dbm(area: Area, cell: np.ndarray, busy: np.ndarray) -> np.ndarray:
    """Return the uplink noise of cells with nothing but their usual load. busy: load over that of the mean hour."""
    return np.asarray(radio.ENB_NOISE_DBM + 3.0 + 1.2 * np.log2(area.cells.load[cell] * busy))


def _loads(area: Area, attempts: Attempts, cell: np.ndarray, link: Link, pressure: Pressure) -> Load:
    """Return the usual load of the hour, what own devices add to it, and what faults do."""
    busy, usual = daily_profile(attempts.at_s), area.plan.settings.base_utilisation
    load, capacity, cells = area.cells.load[cell] * busy, pressure.of("capacity"), len(area.cells)
    up = usual.ul * load + _own_load(attempts, cell, link.ul_repetition * _TONE_SHARE, cells)
    down = usual.dl * load + _own_load(attempts, cell, link.dl_repetition * _FRAME_SHARE, cells)
    return Load(
        np.minimum((up + pressure.of("offered_load_ul")) / capacity, _FULL),
        np.minimum((down + pressure.of("offered_load_dl")) / capacity, _FULL),
        (usual.nprach * load + pressure.of("offered_load_nprach")) / capacity,
        usual.mme * busy + pressure.of("mme_load"),
    )


def _module_offset_db(area: Area, attempts: Attempts, dice: np.random.Generator) -> np.ndarray:
    """Return by how much what a module compares with thresholds is above what it tells: its maker's way, and chance.

    Every other fleet has modules of the one maker; strangers have either.
    """
    size = len(attempts)
    fleet = area.devices.fleet[np.maximum(attempts.device, 0)]
    maker = np.where(attempts.device != NOBODY, fleet % 2, dice.integers(0, 2, size))
    return np.asarray(radio.MODULE_OFFSET_DB[maker] + dice.normal(0, radio.CHOICE_SD_DB, size))


def _received(area: Area, attempts: Attempts, dice: np.random.Generator) -> np.ndarray:
    """Return NRSRP of each cell at each attempt, (n, c), without faults."""
    power = np.empty((len(attempts), len(area.cells)))
    known = attempts.device != NOBODY
    power[known] = area.nrsrp(attempts.device[known], attempts.x_km[known], attempts.y_km[known])
    strangers = np.flatnonzero(~known)
    away = np.hypot(
        attempts.x_km[strangers, None] - area.cells.x_km, attempts.y_km[strangers, None] - area.cells.y_km
    )
    shadow = 6.0 * dice.standard_normal(len(strangers))[:, None] + 6.0 * dice.standard_normal(away.shape)
    power[strangers] = radio.nrsrp_dbm(radio.path_loss_db(away) + area.plan.settings.clutter_loss_db + shadow)
    return np.asarray(power - attempts.extra_db[:, None])


def _expose(
    area: Area, attempts: Attempts, places: dict[str, np.ndarray], faults: list[Happening]
) -> Pressure:
    nowhere = np.full(len(attempts), -1)
    exposed = Exposed(
        attempts.at_s,
        attempts.device,
        np.zeros(len(attempts), bool),
        places | {"cdn_node": nowhere, "program_source": nowhere},
    )
    pressure = expose(faults, exposed, weekday=area.plan.settings.start.weekday())
    misuse(area, pressure, attempts.device)
    return pressure


def _own_load(attempts: Attempts, cell: np.ndarray, share: np.ndarray, cells: int) -> np.ndarray:
    """Return what the province's own devices take of their cell in the 15 minutes of an attempt, %.

    share: of the channel in 15 minutes, that each attempt takes.
    """
    slot = cell * 96 + (attempts.at_s % DAY_S // 900.0).astype("int64")
    used = np.bincount(slot, (attempts.device >= 0) * share / attempts.copies, cells * 96)
    return np.asarray(100.0 * used[slot])


def _weakness(charge: np.ndarray) -> np.ndarray:
    """Return how weak batteries are: 0 from 20 % of charge on, 1 at 7 %."""
    return np.asarray(np.clip((20.0 - charge) / 13.0, 0.0, 1.0))


def _browned_out(charge: np.ndarray, level: np.ndarray, dice: np.random.Generator) -> np.ndarray:
    """Draw at which attempts the transmit pulse, longer on a higher level, takes a weak battery below its voltage."""
    chance = np.where(level >= 1, 0.7, 0.35) * _weakness(charge) * (charge > 0)
    return np.asarray(dice.random(len(charge)) < chance)


def _never_sends(attempts: Attempts, pressure: Pressure, charge: np.ndarray) -> np.ndarray:
    """Return at which attempts nothing is sent: no SIM, in a phone, empty; an alarm, too, that no chamber sees."""
    gone = (pressure.of("sim_absent") + pressure.of("misused") > 0) | (charge <= 0)
    unseen = pressure.of("sensor_broken") + pressure.of("tampered") > 0
    return np.asarray(gone | (unseen & (attempts.process == "ss_alarm")))


def _speaks_lwm2m(area: Area, attempts: Attempts) -> np.ndarray:
    """Return which attempts speak LwM2M over CoAP; the rest MQTT. A third of the locks does."""
    lock = np.char.startswith(attempts.process, "bk_")
    known = attempts.device >= 0
    return np.asarray(~lock | (known & lwm2m_fleet(area, np.maximum(attempts.device, 0))))


def lwm2m_fleet(area: Area, device: np.ndarray) -> np.ndarray:
    """Tell which devices are of a fleet whose locks speak LwM2M: every third one."""
    return np.asarray(area.devices.fleet[device] % 3 == 0)
