"""Structs of public records: made from their models, or checked against them.

msgspec writes and reads structs several times faster than pydantic models. Whoever writes a record,
or reads a few fields of tens of millions, uses one; the fields are still defined in one place.
"""

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from msgspec import Struct, defstruct
from msgspec.json import Decoder
from pydantic import BaseModel

from payments.records.record_models import LedgerEntry

_Part = TypeVar("_Part", bound=Struct)


def struct_of(
    model: type[BaseModel],
    *,
    without: Collection[str] = (),
    omitted: Mapping[str, object] = MappingProxyType({}),
) -> Callable[..., Struct]:
    """Return the struct that has the fields of a model, in their order, but for some of the last.

    Each is to be given, and is written, but for those that are ``omitted`` where they have the
    value that is given here.
    """
    fields = [
        (name, field.annotation, omitted[name]) if name in omitted else (name, field.annotation)
        for name, field in model.model_fields.items()
        if name not in without
    ]
    return defstruct(model.__name__, fields, gc=False, omit_defaults=bool(omitted))


def part_of(model: type[BaseModel]) -> Callable[[type[_Part]], type[_Part]]:
    """Check that the decorated struct has fields of a model, of the same JSON types.

    Text stands for the names of an enumeration too: so values that a later version adds are read.
    Raises ``TypeError`` where the struct is defined.
    """

    def checked(part: type[_Part]) -> type[_Part]:
        for name, annotation in get_type_hints(part).items():
            field = model.model_fields.get(name)
            if field is None or json_types(field.annotation) != json_types(annotation):
                found = "no such field" if field is None else repr(field.annotation)
                message = f"{part.__name__}.{name}: {annotation}; {model.__name__} has {found}"
                raise TypeError(message)
        return part

    return checked


def json_types(annotation: Any) -> frozenset[type]:
    """Return the types that JSON has for a field's annotation: text is ``str`` in all its forms."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return json_types(get_args(annotation)[0])
    if origin is Union or origin is UnionType:
        return frozenset().union(*map(json_types, get_args(annotation)))
    if origin is Literal:
        return frozenset(map(type, get_args(annotation)))
    return frozenset({str if issubclass(annotation, str) else annotation})


@part_of(LedgerEntry)
class NumberedEntry(Struct, gc=False):
    """The place of a ledger entry among those of its account."""

    account: str
    sequence: int


decode_numbered = Decoder(NumberedEntry).decode
