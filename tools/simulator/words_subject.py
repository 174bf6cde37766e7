"""Word count as the subject: an application of a few lines that knows nothing of payments.

``split`` reads lines and sends each word to the partition of the word; ``count`` counts there. What
must hold: the counts of each word are 1, 2, 3 and so on, each once, to as many as were written.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random

from exactstage import Context, Record, Refused, Stage, partition_of

from .subject import KeyValue, Remains, Weather, name_for

LINES, FORWARDED, WORDS, COUNTS = "lines", "lines-forwarded", "words", "counts"
DEAD_LINES, DEAD_WORDS = "dead-lines", "dead-words"


def split(record: Record, context: Context) -> None:
    """Send each word of a line to where it is counted."""
    words = (record.value or b"").split()
    if not words:
        raise Refused("no_words", "the line has no words")
    for word in words:
        context.emit(WORDS, word, b"", partition=partition_of(word, context.partitions))


def count(record: Record, context: Context) -> None:
    """Count a word."""
    word = record.key or b""
    number = b"%d" % (int(context.get(word) or b"0") + 1)
    context.put(word, number)
    context.emit(COUNTS, word, number, type="count")


class Words:
    """Two stages, joined by a topic of words."""

    def __init__(self, partitions: int) -> None:
        self.app_id = "words"
        self.commands, self.harmless = LINES, b"harmless"
        self.public_inputs: Sequence[str] = (LINES,)
        self._partitions = partitions
        split_rows, count_rows = "words-split-changelog", "words-count-changelog"
        self.inputs: Mapping[str, str] = {
            LINES: split_rows,
            FORWARDED: split_rows,
            WORDS: count_rows,
        }
        self.public: Sequence[str] = (COUNTS, DEAD_LINES, DEAD_WORDS)

    def __repr__(self) -> str:
        """Return what it is."""
        return "word count"

    def stages(self) -> Sequence[Stage]:
        """Return both."""
        return [
            Stage(
                "split",
                split,
                changelog=self.inputs[LINES],
                dead_letters=DEAD_LINES,
                public_inputs=(LINES,),
                internal_inputs=(FORWARDED,),
                internal_outputs=(WORDS,),
                forward_to=FORWARDED,
            ),
            Stage(
                "count",
                count,
                changelog=self.inputs[WORDS],
                dead_letters=DEAD_WORDS,
                internal_inputs=(WORDS,),
                outputs=(COUNTS,),
            ),
        ]

    def maker(self, random: Random, weather: Weather, run: str) -> Callable[[int], KeyValue]:
        """Return what makes lines of up to five words; one in fifty has none."""

        def line(number: int) -> KeyValue:
            key = b"line-%d-%s" % (
                number // 6 + random.randrange(weather.keys_at_once),
                run.encode(),
            )
            if random.random() < 0.02:
                return key, random.choice((None, b"", b"  "))
            words = (random.randrange(weather.others) for _ in range(random.randint(1, 5)))
            return key, b" ".join(b"w%d" % word for word in words)

        return line

    def topic_of(self, key: bytes | None) -> str:
        """Return the only topic of lines."""
        del key
        return self.commands

    def work(self, stem: str, partition: int, other: int) -> KeyValue:
        """Return a line with one word, which is counted on the other partition."""
        word = name_for("probed", other, self._partitions)
        return name_for(stem, partition, self._partitions).encode(), word.encode()

    def violations(self, remains: Remains) -> Iterator[str]:
        """Yield each word that was not counted once for each time that it was written."""
        written: Counter[bytes] = Counter()
        lines_without_words = 0
        for record in _records(remains, LINES):
            words = (record.value or b"").split()
            written.update(words)
            lines_without_words += not words
        counted: defaultdict[bytes, list[bytes]] = defaultdict(list)
        for record in _records(remains, COUNTS):
            counted[record.key or b""].append(record.value or b"")
        for word in sorted(written.keys() | counted.keys()):
            found, times = counted[word], written[word]
            if found != [b"%d" % (n + 1) for n in range(len(found))]:
                yield f"the counts of {word!r} are {found}"
            if len(found) > times or (len(found) < times and not remains.may_wait):
                yield f"{word!r} was written {times} times, and counted {len(found)} times"
        dead = len(list(_records(remains, DEAD_LINES)))
        if dead > lines_without_words or (dead < lines_without_words and not remains.may_wait):
            yield f"{lines_without_words} lines have no words, and {dead} are dead-lettered"
        for record in _records(remains, DEAD_WORDS):
            yield f"the word {record.key!r} is dead-lettered"


def _records(remains: Remains, topic: str) -> Iterator[Record]:
    for at in sorted(at for at in remains.committed if at.topic == topic):
        yield from remains.committed[at]


def draw_words(_random: Random, partitions: int) -> Words:
    """Return word count, which has no settings."""
    return Words(partitions)
