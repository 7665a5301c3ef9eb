"""What is known about a device, and when it was known.

The vocabulary of the project. A new word is added here first.

up, down        from the device, to the device
flow            one bidirectional 5-tuple conversation (IPFIX biflow, RFC 5103), seen from the device
source          the content of one capture: the first 16 hex digits of its SHA-256
session         the window that spans one source
window_start    first instant of a window, UTC, inclusive
window_end      last instant of a window, UTC, exclusive (for `session`: the end of its last flow)
created         when a row became known, UTC; a late backfill has an old window_end and a new created
known, stale    the newest row of a device ended within its time to live (TTL), or before; missing: there is none
publish         to write the newest row of each device into the online store
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
"""
