"""Fitting a fault into a source that has been laid out anew, added to, or moved since."""

from pathlib import Path

import pytest

from tools.mutation.catalogue import parse
from tools.mutation.errors import MisfitError
from tools.mutation.fitting import SourceTree

SOURCE = '''"""A module."""

LIMIT = 5


class Account:
    """Has a balance."""

    limit: int = LIMIT

    def take(self, amount):
        if amount > self.balance:
            raise ValueError(amount, "x")
        self.balance -= amount

    def give(self, amount):
        self.balance += amount
'''
TAKE = "- if amount > self.balance:\n+ if amount < self.balance:"


def mutant_of(
    tmp_path: Path,
    change: str = TAKE,
    *,
    symbol: str = "Account.take",
    source: str = SOURCE,
    file: str = "payments/account.py",
) -> str:
    """Put a fault of ``payments.account`` into a tree of one file; return the changed source."""
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(source)
    (fault,) = parse(f"= a-fault\nIt is wrong.\n@ payments.account:{symbol}\n{change}\n")
    mutant = SourceTree(tmp_path).mutant(fault)
    assert mutant.file == file
    return mutant.source


@pytest.mark.parametrize(
    ("symbol", "change", "old", "new"),
    [
        ("Account.take", TAKE, "amount > self.balance", "amount < self.balance"),
        ("LIMIT", "- 5\n+ 6", "LIMIT = 5", "LIMIT = 6"),
        ("Account.limit", "- LIMIT\n+ 7", "int = LIMIT", "int = 7"),
        ("Account", '- "x",\n+ "y",', '"x"', '"y"'),
        (
            "Account.take",
            "- self.balance -= amount\n+ if amount:\n+     self.balance -= amount",
            "        self.balance -= amount",
            "        if amount:\n            self.balance -= amount",
        ),
        (
            "Account.take",
            '-     raise ValueError(amount, "x")\n- self.balance -= amount\n+ self.balance = 0',
            '            raise ValueError(amount, "x")\n        self.balance -= amount',
            "        self.balance = 0",
        ),
    ],
)
def test_a_change_is_made_in_its_symbol_alone(
    tmp_path: Path, symbol: str, change: str, old: str, new: str
) -> None:
    assert mutant_of(tmp_path, change, symbol=symbol) == SOURCE.replace(old, new)


@pytest.mark.parametrize(
    "source",
    [
        SOURCE.replace("amount > self.balance", "amount   >  self.balance"),
        SOURCE.replace("amount > self.balance", "amount > \\\n            self.balance"),
        SOURCE.replace("self.balance:", "self.balance:  # why"),
        SOURCE.replace("class Account", "OTHER = 1\n\n\ndef other():\n    pass\n\n\nclass Account"),
        SOURCE.replace("def take", "@property\n    def take"),
        SOURCE.replace("def take", "async def take"),
    ],
)
def test_layout_and_what_is_around_the_symbol_do_not_matter(tmp_path: Path, source: str) -> None:
    assert mutant_of(tmp_path, source=source).count("amount < self.balance") == 1


def test_a_comma_that_the_layout_asks_for_does_not_matter(tmp_path: Path) -> None:
    change = '- raise ValueError(amount, "x")\n+ return'
    source = SOURCE.replace(
        '(amount, "x")', '(\n                amount,\n                "x",\n            )'
    )
    assert "            return\n" in mutant_of(tmp_path, change, source=source)


@pytest.mark.parametrize("file", ["payments/stages/account.py", "exactstage/account.py"])
def test_a_symbol_that_has_moved_is_found(tmp_path: Path, file: str) -> None:
    assert "amount < self.balance" in mutant_of(tmp_path, file=file)


def test_a_function_that_has_moved_to_another_class_is_found(tmp_path: Path) -> None:
    source = SOURCE.replace("class Account", "class Purse")
    assert "amount < self.balance" in mutant_of(tmp_path, source=source)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (SOURCE.replace("def take", "def draw"), "there is no payments.account:Account.take"),
        (SOURCE.replace("amount > ", "amount >= "), "its old lines are 0 times"),
        (SOURCE.replace("raise", "if amount > self.balance: raise"), "its old lines are 2 times"),
        (SOURCE.replace("if amount > self", "if amount:  # > self"), "its old lines are 0"),
    ],
)
def test_a_change_that_does_not_fit_exactly_once_is_a_misfit(
    tmp_path: Path, source: str, message: str
) -> None:
    with pytest.raises(MisfitError, match=f"a-fault: {message}"):
        mutant_of(tmp_path, source=source)
