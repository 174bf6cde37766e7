"""The metric families of a worker: names, labels, and what each means when it is high.

No label has a client's text: the values of each are a closed list, or topics, partitions and
currencies.
"""

from exactstage.hosting import JOINING, TAKING_OVER
from exactstage.log import Channel
from payments.process.metric_family import BUILD, PROCESS, Family

CHANNELS = {Channel.JOURNAL: "journal", Channel.PUBLISH: "publish"}

NOT_READY = {
    JOINING: JOINING,
    TAKING_OVER: TAKING_OVER,
    "a stage does not get on with its records": "stage_stalled",
    "Kafka does not answer": "no_answer",
    "no success yet": "retries",
    "can't be read": "unreadable",
    "records are there and don't come": "records_withheld",
    "blocked by an open transaction": "open_transaction",
    "Kafka throttles this process": "throttled",
}
"""The label of each reason for which a worker is not ready."""

DEFECTS = ("impossible", "internal_error", "foreign_record", "missing_position")
"""Reasons of dead letters that must not occur: they are there from the start, with 0, so that an
increase is seen."""

INSTALLATION = Family(
    "payments_installation_info",
    "gauge",
    "1, once the worker owns partitions; the labels have the app id and the installation's id.",
    "Two ids under one app id: workers have different topics (`PAYMENTS_TOPIC_PREFIX`).",
    ("app_id", "installation"),
)
READY = Family(
    "payments_ready",
    "gauge",
    "1 while this worker handles records, else 0.",
    "0 for more than a takeover takes: see `payments_not_ready`.",
)
NOT_READY_FAMILY = Family(
    "payments_not_ready",
    "gauge",
    "1 for each reason for which the worker is not ready, else 0.",
    "`joins_group` and `takes_over` pass by themselves; for the others the log has the place and "
    "the next step.",
    ("reason",),
)
OWNED = Family(
    "payments_owned_partitions",
    "gauge",
    "Partitions of this worker.",
    "The sum over all workers is below `PAYMENTS_PARTITIONS` during a rebalance only.",
)
BLOCKED = Family(
    "payments_blocked_partitions",
    "gauge",
    "Partitions that stand still: an open transaction, no leader, no answer.",
    "Commands of these partitions are not answered.",
)
BLOCKED_SECONDS = Family(
    "payments_blocked_seconds",
    "gauge",
    "For how long the longest of them has stood still.",
    "See `payments_not_ready`, and the worker's log.",
    unit="seconds",
)
SETTING = Family(
    "payments_setting_info",
    "gauge",
    "1 for each setting that decisions depend on; the labels have its name and this worker's "
    "value.",
    "Two values of one setting under one app id: these workers decide differently.",
    ("app_id", "setting", "value"),
)
SETTINGS_DIFFER = Family(
    "payments_settings_differ",
    "gauge",
    "Partitions that were taken over within the last hour from an owner that decided by another "
    "value of the setting.",
    "The setting was changed, or this worker's value is wrong: the log has both values.",
    ("setting",),
)
RESULTS = Family(
    "payments_results",
    "counter",
    "Published results of payments, notices included; `reason` is empty where there is none.",
    "Many `rejected`: a client sends what the rules refuse. `internal_error`, `impossible`: a "
    "defect.",
    ("type", "outcome", "reason"),
)
ACCOUNT_RESULTS = Family(
    "payments_account_results",
    "counter",
    "Published results of commands for accounts; `reason` is empty where there is none.",
    "Many `rejected`: a client sends what the rules refuse. `internal_error`: a defect.",
    ("type", "outcome", "reason"),
)
RESULT_SECONDS = Family(
    "payments_result_seconds",
    "histogram",
    "From a command's time in the log to the acknowledgement of its result. Of a command that "
    "waited for a transfer, from the last change of the payment's state before that transfer "
    "settled, which is mostly its beginning.",
    "Compare with `payments_lag_seconds` (too few workers) and `payments_append_seconds` (slow "
    "brokers).",
    unit="seconds",
)
HANDLED = Family(
    "payments_records_handled",
    "counter",
    "New records that a stage decided.",
    "",
    ("stage",),
)
DEAD_LETTERS = Family(
    "payments_dead_letters",
    "counter",
    "Records put on the dead letters.",
    "`impossible` or `internal_error`: a defect; `foreign_record` or `missing_position`: another "
    "program writes to an internal topic; all others: malformed commands.",
    ("stage", "reason"),
)
LAG = Family(
    "payments_lag_records",
    "gauge",
    "Records of an input partition that are not handled yet.",
    "More comes than is handled: look at `payments_result_seconds`, start workers, up to one for "
    "each partition.",
    ("topic", "partition"),
    "records",
)
LAG_SECONDS = Family(
    "payments_lag_seconds",
    "gauge",
    "For how long the oldest of them has been there, at most.",
    "Commands wait for so long before they are decided.",
    ("topic", "partition"),
    "seconds",
)
STANDBYS = Family(
    "payments_standby_partitions",
    "gauge",
    "Partitions of other workers whose journals this one follows (`PAYMENTS_STANDBYS`).",
    "0 in all workers although it is set: the worker that leads the group has it not, or there is "
    "one worker only.",
)
STANDBY_LAG = Family(
    "payments_standby_lag_records",
    "gauge",
    "Records of these journals that their copies here do not have yet.",
    "Grows all the time: a takeover would read them first; the worker or its disk is slow.",
    ("stage",),
    "records",
)
WAITING = Family(
    "payments_waiting_payments",
    "gauge",
    "Payments whose transfer is in flight.",
    "High together with the lag of `payments.transfers` or `payments.inbox`: the other "
    "partitions' owners are slow.",
)
WAITING_SECONDS = Family(
    "payments_waiting_oldest_seconds",
    "gauge",
    "For how long the oldest of them has waited; 0 where none does.",
    "Its transfer or its answer does not arrive: the runbook's alerts, A payment waits.",
    unit="seconds",
)
OPEN_HOLDS = Family(
    "payments_open_holds",
    "gauge",
    "Payments that hold money.",
    "Holds are neither captured nor voided; each is a row (`payments_rows`) until it lapses.",
    ("currency",),
)
HELD = Family(
    "payments_held_minor_units",
    "gauge",
    "What they hold in all.",
    "",
    ("currency",),
    "minor units",
)
OVERDUE = Family(
    "payments_timer_overdue_seconds",
    "gauge",
    "For how long the oldest timer of a row is due: of a payment whose hold has ended, or whose "
    "window is closed.",
    "Timers do not keep up, or the worker owns the partition for too short a time.",
    ("stage",),
    "seconds",
)
ROWS = Family(
    "payments_rows",
    "gauge",
    "Rows in memory. With `PAYMENTS_STATE_DIR` they are on the worker's disk, and the number is an "
    "estimate.",
    "Memory, or that disk, grows with them; they shrink as payments expire "
    "(`PAYMENTS_RETENTION_SECONDS`).",
    ("stage",),
)
GROUPS = Family("payments_groups", "counter", "Commits journalled.", "")
IN_FLIGHT = Family(
    "payments_groups_in_flight",
    "gauge",
    "Commits that are sealed, and not published to their end.",
    "At most 62 for each journal: publishing is slow, see `payments_append_seconds`.",
)
JOURNAL_APPENDS = Family(
    "payments_journal_appends",
    "counter",
    "Appends that carried the commits.",
    "",
)
APPEND_SECONDS = Family(
    "payments_append_seconds",
    "histogram",
    "How long one append took, retries included: of commits (`journal`) or of outputs (`publish`).",
    "Slow brokers: their disks, their network, `min.insync.replicas` copies that are behind.",
    ("channel",),
    "seconds",
)
BATCHES = Family(
    "payments_appended_batches",
    "counter",
    "Batches appended, one for each partition of an append.",
    "",
    ("channel",),
)
RECORDS = Family(
    "payments_appended_records",
    "counter",
    "Records in them.",
    "Divided by the batches: few records in each under load mean that commits are small, and "
    "cost more.",
    ("channel",),
)
BYTES = Family(
    "payments_appended_bytes",
    "counter",
    "Bytes of them, as they are sent.",
    "Divided by the batches: near 512 KiB commits are as large as they may be.",
    ("channel",),
    "bytes",
)
REBALANCES = Family(
    "payments_rebalances",
    "counter",
    "Assignments that this worker was given.",
    "Workers come and go: look at their last lines, and at the session timeout.",
)
TAKEOVERS = Family("payments_takeovers", "counter", "Takeovers of partitions.", "")
TAKEOVER_SECONDS = Family(
    "payments_takeover_seconds",
    "counter",
    "How long the parts of all takeovers took.",
    "`restore`: long journals, see the next two; `claim`, `fence`: slow brokers.",
    ("part",),
    "seconds",
)
TAKEOVER_ROWS = Family(
    "payments_takeover_rows", "counter", "Rows that takeovers found in the journals.", ""
)
TAKEOVER_RECORDS = Family(
    "payments_takeover_records_read",
    "counter",
    "Records of the journals that takeovers read for them.",
    "Far over 2 for each row: the brokers' log cleaner is behind.",
)
RECENT_TAKEOVER_ROWS = Family(
    "payments_recent_takeover_rows",
    "gauge",
    "Rows that this worker's takeovers of the last hour found in the journals.",
    "",
)
RECENT_TAKEOVER_RECORDS = Family(
    "payments_recent_takeover_records_read",
    "gauge",
    "Records of the journals that they read for them.",
    "Far over 2 for each row: the brokers' log cleaner is behind. Most takeovers are over before "
    "the first scrape of a worker, so no increase of a counter shows them.",
)
CLOCK = Family(
    "payments_clock_difference_seconds",
    "gauge",
    "How far this machine's clock is ahead of the brokers'.",
    "Only the times of log lines depend on it; correct the time synchronization.",
    unit="seconds",
)
ENDS = Family(
    "payments_worker_ends",
    "counter",
    "How often each reason ended the worker of this host, orderly ends left out. It is kept "
    "beside `PAYMENTS_HEALTH_FILE`, and always 0 without it.",
    "`fenced`: the worker is paused or disconnected; `fenced_instance`: two have one "
    "`PAYMENTS_INSTANCE_ID`, or it was restarted; for all others the runbook has the last line of "
    "the log.",
    ("reason",),
)
RECENT_ENDS = Family(
    "payments_recent_worker_ends",
    "gauge",
    "How many of these ends were within the last 15 minutes, up to 20 by each reason.",
    "Also those before the first scrape, of which no increase of the counter is seen.",
    ("reason",),
)

FAMILIES = (
    BUILD,
    INSTALLATION,
    READY,
    NOT_READY_FAMILY,
    OWNED,
    BLOCKED,
    BLOCKED_SECONDS,
    SETTING,
    SETTINGS_DIFFER,
    RESULTS,
    ACCOUNT_RESULTS,
    RESULT_SECONDS,
    HANDLED,
    DEAD_LETTERS,
    LAG,
    LAG_SECONDS,
    STANDBYS,
    STANDBY_LAG,
    WAITING,
    WAITING_SECONDS,
    OPEN_HOLDS,
    HELD,
    OVERDUE,
    ROWS,
    GROUPS,
    IN_FLIGHT,
    JOURNAL_APPENDS,
    APPEND_SECONDS,
    BATCHES,
    RECORDS,
    BYTES,
    REBALANCES,
    TAKEOVERS,
    TAKEOVER_SECONDS,
    TAKEOVER_ROWS,
    TAKEOVER_RECORDS,
    RECENT_TAKEOVER_ROWS,
    RECENT_TAKEOVER_RECORDS,
    CLOCK,
    ENDS,
    RECENT_ENDS,
    *PROCESS,
)
"""All of them, in the order of the page."""
