"""Change the journals of stages while no worker runs: this module is for operators' tools.

A tool claims the partitions first (``Claimed``), so that a worker that starts then fences the
tool, or is fenced. ``NewJournal`` and ``write_journals`` make journals anew, ``Deciding`` decides
records as a worker would, ``skip_input`` gives records up, ``renew_identity`` moves a journal to
topics that were recreated. What a tool puts into a note or a mark is the tool's own.
"""

from typing import TYPE_CHECKING

from exactstage._doors import exports

if TYPE_CHECKING:
    from exactstage.consistency import Surroundings
    from exactstage.limits import MAX_COMMITS_AHEAD

    from .appending import append_records
    from .claiming import Claimed
    from .deciding import Deciding
    from .identity_renewal import renew_identity
    from .input_skipping import skip_input
    from .journal_writing import write_journals
    from .new_journals import MAX_COMMITS, NewJournal, TooManyCommits

__all__ = [
    "MAX_COMMITS",
    "MAX_COMMITS_AHEAD",
    "Claimed",
    "Deciding",
    "NewJournal",
    "Surroundings",
    "TooManyCommits",
    "append_records",
    "renew_identity",
    "skip_input",
    "write_journals",
]

__getattr__ = exports(
    __name__,
    {
        "consistency": ("Surroundings",),
        "limits": ("MAX_COMMITS_AHEAD",),
        "recovery.appending": ("append_records",),
        "recovery.claiming": ("Claimed",),
        "recovery.deciding": ("Deciding",),
        "recovery.new_journals": ("MAX_COMMITS", "NewJournal", "TooManyCommits"),
        "recovery.identity_renewal": ("renew_identity",),
        "recovery.input_skipping": ("skip_input",),
        "recovery.journal_writing": ("write_journals",),
    },
)
