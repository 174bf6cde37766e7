"""Numbering: the name of a command without an id of its own, also in copied topics.

Such a command is named by its record address. Where the topics were copied and the journals rebuilt
from them (``payments rebuild --copied``), earlier results name addresses of the former topic:
commands of that time are matched by their payment only. The rebuilt journals have a note of it.
Where the commands topic was recreated (``payments journal adopt``), the commands of earlier results
are gone, and the journals have a note of that: earlier results can't be matched with commands.
"""

from msgspec import DecodeError

from payments.records.record_address import RecordAddress
from payments.records.recovery_notes import JournalNote, decode_note

COPIED = "\0copied"
"""Name of every copied command without an id of its own; no id begins with a zero byte."""


class Numbering:
    """Knows which commands are copies."""

    def __init__(self, commands: str) -> None:
        self._commands = commands
        self._notes: dict[int, JournalNote] = {}

    def note(self, partition: int, value: bytes) -> None:
        """Take a journal's note. Raises ``ValueError`` when it is something else."""
        try:
            note = decode_note(value)
        except (DecodeError, RecursionError) as error:
            raise ValueError(repr(error)) from error
        if note.copied or note.commands_are_gone:
            self._notes[partition] = note

    @property
    def lacks_commands(self) -> bool:
        """Whether commands were deleted with their topic."""
        return any(note.commands_are_gone for note in self._notes.values())

    def is_copy(self, partition: int, offset: int) -> bool:
        """Whether a command came with a copy."""
        note = self._notes.get(partition)
        return note is not None and offset < note.commands_before

    def command(self, own: str | None, partition: int, offset: int) -> str:
        """Return the name of a command with this id of its own, or with none."""
        note = self._notes.get(partition)
        if (
            note is not None
            and offset < note.commands_before
            and (own is None or note.commands_are_gone)
        ):
            return COPIED
        return own or str(RecordAddress(self._commands, partition, offset))

    def answered(self, own: str, journal: int, commit: int | None) -> str:
        """Return the name of the command that a result of a commit answers.

        ``journal`` is the partition of the result; ``commit`` is None for a command that waits.
        """
        if not self._notes:
            return own
        note = self._notes.get(journal)
        if (
            note is not None
            and note.commands_are_gone
            and commit is not None
            and commit < note.base
        ):
            return COPIED
        try:
            at = RecordAddress.parse(own)
        except ValueError:
            return own
        return COPIED if self._names_copy(at, journal, commit) else own

    def _names_copy(self, at: RecordAddress, journal: int, commit: int | None) -> bool:
        note = self._notes.get(journal)
        if note is not None and commit is not None and commit < note.base:
            return at.topic == (note.former_topic or self._commands)
        return at.topic == self._commands and self.is_copy(at.partition, at.offset)

    def letter_names_copy(self, place: str, journal: int, commit: int) -> bool:
        """Whether a dead letter of a commit is that of a copied command."""
        return self.answered(place, journal, commit) == COPIED
