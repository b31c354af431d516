"""The base of all typed settings: parsed once from a configuration, frozen, and wrong in one line."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from initsearch.errors import ConfigError, quoted, unknown_name

#: Of the largest integers that torch takes.
_BITS = 63
#: `Annotated[tuple[int, ...], LISTED]`: a tuple that a configuration gives as a list.
LISTED = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)


def one_of(what: str, names: Iterable[str]) -> BeforeValidator:
    """`Annotated[str, one_of("optimizer", names)]`: one of some names; the error has the nearest ones.

    Args:
        what: What is chosen, for the error (`optimizer`, `data.scaling`).
        names: The names that exist.
    """
    known = list(names)

    def check(value: object) -> object:
        if not isinstance(value, str) or value not in known:
            raise unknown_name(what, value, known)
        return value

    return BeforeValidator(check)


class Settings(BaseModel):
    """A group of settings: frozen, without unknown entries, and strict about types.

    Subclasses declare fields and validators as pydantic has them; a validator raises `ValueError` with the
    rule and the remedy, or a `ConfigError`, which is passed through unchanged.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True, allow_inf_nan=False
    )

    @classmethod
    def parse(cls, group: str, values: object) -> Self:
        """Settings from a configuration.

        Args:
            group: Where the configuration has them (`race`); empty for its top.
            values: A mapping of settings, as Hydra or YAML gives it, or settings of this type.

        Raises:
            ConfigError: A name, type or value that breaks a rule: the first that is found.
        """
        if isinstance(values, cls):
            return values
        if not isinstance(values, Mapping):
            raise ConfigError(
                f"{group} must be a mapping of settings, but got {quoted(values)}: "
                f"choose {group}=NAME or set {group}.KEY=VALUE"
            )
        for key, value in values.items():
            _check_size(f"{group}.{key}" if group else str(key), value)
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise config_error(group, error, cls.model_fields) from error


def _check_size(argument: str, value: object) -> None:
    """Refuse integers that neither a seed nor a size can be, and that Python may refuse to write."""
    numbers = value if isinstance(value, list | tuple) else [value]
    if any(isinstance(number, int) and number.bit_length() > _BITS for number in numbers):
        raise ConfigError(
            f"{argument} must be below 2^{_BITS}, but got {quoted(value)}: give a smaller number"
        )


def config_error(
    group: str, error: ValidationError, known: Sequence[str] | Mapping[str, FieldInfo]
) -> ConfigError:
    """The first complaint of pydantic as one line: the argument, the rule, the value received.

    Args:
        group: Where the settings stand in the configuration.
        error: What pydantic raised.
        known: The names that the settings have.
    """
    first = error.errors(include_url=False)[0]
    argument = ".".join(str(part) for part in ((group,) if group else ()) + first["loc"])
    if first["type"] == "extra_forbidden":
        where = f"setting of {group}" if group else "setting"
        return unknown_name(where, first["loc"][-1], known)
    if first["type"] == "missing":
        return ConfigError(f"{argument} must be set, but is missing: give {argument}=VALUE")
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, ConfigError):
        return cause
    rule = str(cause if cause is not None else first["msg"]).replace(
        "Input should be", "must be", 1
    )
    remedy = _default_of(first["loc"], known)
    return ConfigError(f"{argument} {rule}, but got {quoted(first['input'])}{remedy}")


def gathered(values: Mapping[str, Any], own: Sequence[str]) -> dict[str, Any]:
    """Settings with all that is not their own under `arguments`.

    Args:
        values: As given.
        own: The names of the group's own settings, `arguments` among them.
    """
    kept = {key: value for key, value in values.items() if key in own}
    rest = {key: value for key, value in values.items() if key not in own}
    return kept | {"arguments": {**kept.get("arguments", {}), **rest}}


def _default_of(
    place: tuple[int | str, ...], known: Sequence[str] | Mapping[str, FieldInfo]
) -> str:
    """The default of a setting as a remedy; empty if it has none."""
    field = known.get(str(place[0])) if place and isinstance(known, Mapping) else None
    default = None if field is None else field.default
    if default is None or default is PydanticUndefined:
        return ""
    shown = json.dumps(default, default=str)  # as YAML has it
    return f": the default is {shown}"
