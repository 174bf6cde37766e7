"""The topics of an installation, and the order in which an audit reads them."""

from dataclasses import dataclass
from typing import Self

from payments.settings import Settings


@dataclass(frozen=True, slots=True)
class Topics:
    """Names of the audited topics.

    Of the transfers only those are read that may be in flight: the ledger has the effects of all.
    """

    commands: str
    account_commands: str
    inbox: str
    transfers: str
    results: str
    account_results: str
    ledger: str
    payments_letters: str
    accounts_letters: str
    payments_journal: str
    accounts_journal: str

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the names in one installation."""
        return cls(
            commands=settings.topics.commands,
            account_commands=settings.topics.account_commands,
            inbox=settings.topics.inbox,
            transfers=settings.topics.transfers,
            results=settings.topics.results,
            account_results=settings.topics.account_results,
            ledger=settings.topics.ledger,
            payments_letters=settings.topics.payments_dead_letters,
            accounts_letters=settings.topics.accounts_dead_letters,
            payments_journal=settings.changelog("payments"),
            accounts_journal=settings.changelog("accounts"),
        )

    @property
    def journals(self) -> tuple[str, str]:
        """The changelogs of both stages."""
        return self.payments_journal, self.accounts_journal

    @property
    def public(self) -> tuple[str, ...]:
        """Topics that a stage publishes to, each partition from the journal of its own number."""
        return (
            self.results,
            self.account_results,
            self.ledger,
            self.payments_letters,
            self.accounts_letters,
        )

    @property
    def internal(self) -> tuple[str, ...]:
        """Topics between the stages, which are read from the first message that is not handled."""
        return self.inbox, self.transfers

    @property
    def phases(self) -> tuple[tuple[str, ...], ...]:
        """All topics: those of a phase are read after those of the phases before it.

        A result must find its command, and a journalled decision its outputs, so the ends of the
        topics must be noted in this order too.
        """
        return (
            (self.payments_journal,),
            (self.accounts_journal,),
            (
                self.inbox,
                self.transfers,
                self.results,
                self.account_results,
                self.payments_letters,
                self.accounts_letters,
            ),
            (self.commands, self.account_commands, self.ledger),
        )
