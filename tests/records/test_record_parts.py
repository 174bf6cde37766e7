"""Structs of public records: they have the fields of the models, or can't be defined.

Of the same kind: ``tests/schemas`` holds the schemas against what is written, and
``tests/records/test_public.py`` what is written against the models.
"""

import pytest
from msgspec import Struct, defstruct
from msgspec.structs import fields
from pydantic import BaseModel

from payments.domain.results import Outcome
from payments.records.record_models import LedgerEntry, Result
from payments.records.record_parts import part_of, struct_of


@pytest.mark.parametrize("model", [Result, LedgerEntry])
def test_a_struct_has_the_fields_of_its_model_in_order(
    model: type[BaseModel],
) -> None:
    made = struct_of(model)
    assert isinstance(made, type)
    assert [field.name for field in fields(made)] == list(model.model_fields)
    with pytest.raises(TypeError, match="Missing required argument"):
        made()


def test_a_part_may_have_text_for_what_is_one_of_some_names() -> None:
    @part_of(Result)
    class Part(Struct):
        outcome: str
        state: str | None
        type: str | None

    @part_of(Result)
    class Same(Struct):
        outcome: Outcome

    assert Part.__struct_fields__ == ("outcome", "state", "type")
    assert Same.__struct_fields__ == ("outcome",)


def test_a_part_with_a_field_that_the_record_does_not_have_is_an_error() -> None:
    with pytest.raises(TypeError, match=r"Part.total: .*int.*; LedgerEntry has no such field"):

        @part_of(LedgerEntry)
        class Part(Struct):
            total: int


@pytest.mark.parametrize("wrong", [str, int, bool | None])
def test_a_part_with_a_field_of_another_type_is_an_error(wrong: type) -> None:
    with pytest.raises(TypeError, match=r"Part.replayed: .*; Result has .*bool"):
        part_of(Result)(defstruct("Part", [("replayed", wrong)]))
