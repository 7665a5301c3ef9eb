"""What is known about a device, and when it was known.

The vocabulary of the project. A new word is added here first.

up, down        from the device, to the device
flow            one bidirectional 5-tuple conversation (IPFIX biflow, RFC 5103), seen from the device
source          the content of one capture or table of flows: the first 16 hex digits of its SHA-256
session         the window that spans one source
window_start    first instant of a window, UTC, inclusive
window_end      last instant of a window, UTC, exclusive (for `session`: the end of its last flow)
created         when a row became known, UTC; a late backfill has an old window_end and a new created
known, stale    the newest row of a device ended within its time to live (TTL), or before; missing: there is none
publish         to write the newest row of each device that has ended into the online store
layout          which features, in which order, the one online value of a row holds; ledger: what publish has done
feature service the features of one window that a model reads, in order, under a name that never changes its meaning
ps, piat_ms     packet size (byte, IP layer) and packet inter-arrival time (ms): nfstream's words
label, family   the device type or application (leaf), and the group of near-identical ones it belongs to
leaf, level     the finest thing an answer can name; level says whether `leaf` or only `family` may be trusted
unit            one physical device; second units of a type judge transfer to devices never seen
fold            one pair of rows to learn from and rows to judge on
model_version   experiment and content of a model: the same version answers the same
site            where a device stands; a split by site judges transfer to another place
run             one sealed directory of one experiment: model, predictions, report, DONE

The words of service experience.

scope, scope_id the kind of thing a value speaks of, and which one: device, cell, tac (tracking area), mme,
                platform_node, app, fleet (model and firmware); city, province, program_source, cdn_node
indicator       one measured quality of the network or platform; the 55, the local ones of a service, the terminal ones
counter         what a network element counts: a numerator over a denominator, or samples of one quantity
granularity     the scopes at which an indicator can be computed
anchor          the two values between which an indicator or KQI is scored: excellent (100), unacceptable (0)
typical         the healthy nominal value; healthy_range: the band of it over cells and hours
no evidence     fewer samples than min_samples: neither good nor bad
service, process, step    what a customer buys; what a device does for it; one message exchange of that, in order
driver          an indicator of a step, and so of its process
KQI             key quality indicator: what the customer of a service sees, computed from the service's own event log
expert weight   what an expert thinks a driver contributes to a KQI, of 1
CE level, ECL   coverage enhancement level 0, 1, 2 of NB-IoT: how often a message is repeated
fault           one way to break: domain (who owns it), signature (what it moves), mechanism (what it does to a cause)
baseline        what a value usually is at that time of the week; usual deviation: how far it usually is off
siblings        places of one scope, at one window
witness         an indicator of a place: it accuses the KQI that it speaks for while it is odd too often
odd, calm       a window far below its baseline; one that is not. alarm: raised, updated, cleared; its cause: the alarm
                of the widest ill place that it belongs to
rule, atom      a demarcation rule; its smallest condition: metric at scope, operator, value. A missing metric: unknown

The words of counters.

event           one attempt of a process by a device, as the event log of the service tells it
delivery        one file of counters, membership, terminal records or events, known by its content; has a commit record
quarantine      where bad rows lie, each with the rule that it breaks: they are never numbers
superseded      a row that counted until the same window was delivered again with other numbers
sketch, bin     samples as counts in numbered bins of 1 % width: sums of sketches are sketches
membership      which cell, TAC, MME, platform node, app, fleet, city and province a device hangs on, and since when
roll-up         counters of a device or cell counted in what they belonged to at that time
tick            the longest time that all windows are multiples of
vendor          who made a network element; a mapping says which column of its tables is which counter

The words of user marks.

behaviour       what a device did over the last days, from its flows and its membership; what nobody told is empty
mark            one thing that may be true of a device or its user (configs/user_marks.yaml), with a probability
held            probable enough, and the most probable of its exclusive group; MARKS has a row for each
since, expires  from when on a mark was held at every moment of marking; until when it is true if nothing more is told
weak label      what a rule tells of a device, as a teacher of a model; an expert's label overrides it
skill           how well a model tells labels again that it did not see: 1 always, 0 as by chance
"""
