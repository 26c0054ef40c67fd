"""The flags every command shares: all the settings, and the file they may come from."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter
from pydantic import ByteSize, ModelWrapValidatorHandler, ValidationError, model_validator

from dicomweb.settings import GROUPS, Settings, SettingsError, explain, flag, group_of, load


class Flags(Settings):
    """The settings as flags; only those that were given are set."""

    @model_validator(mode="wrap")
    @classmethod
    def _name_the_flag(cls, values: Any, handler: ModelWrapValidatorHandler["Flags"]) -> "Flags":
        try:
            return handler(values)
        except ValidationError as error:
            raise SettingsError(explain(error, {name: flag(name) for name in cls.model_fields})) from None


_GROUPS = {name: Group.create_ordered(name) for name in GROUPS}
for _name, _field in Flags.model_fields.items():
    _field.metadata.append(Parameter(group=_GROUPS[group_of(_name)]))


def show_default(value: object) -> str:
    """Write a default as a person would give it."""
    if isinstance(value, ByteSize):
        return value.human_readable().replace(".0", "")
    if isinstance(value, (list, tuple)):
        return ",".join(str(item) for item in value) or "none"
    return str(value)


SettingFlags = Annotated[Flags | None, Parameter(name="*", negative_iterable=(), show_default=show_default)]
ConfigFile = Annotated[Path | None, Parameter(help="TOML file of settings; DICOMWEB_CONFIG names it too.")]


def resolve(flags: Flags | None, config: Path | None) -> Settings:
    """Bring the flags given together with the environment, the file and the defaults; raises SettingsError."""
    given = {name: getattr(flags, name) for name in flags.model_fields_set} if flags else {}
    return load(given, config)
