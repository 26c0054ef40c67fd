"""`dicomweb worklist`: bring items of other systems to the modality worklist, and see what is on it."""

import asyncio
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
from cyclopts.validators import Number

from dicomweb.commands.exit_status import ExitStatus
from dicomweb.commands.location import DEFAULT, Location
from dicomweb.commands.printing import Json, say, write, write_either, write_json
from dicomweb.settings import Settings, SettingsError

if TYPE_CHECKING:
    from storage.worklist.items import StoredItem, Worklist

worklist = App(
    name="worklist",
    help="""The modality worklist: what scanners are given to do.

    Example: dicomweb worklist import ./orders.csv --data-dir ./dicomweb-data""",
)


@worklist.command(name="import")
def import_(
    paths: list[Path],
    /,
    *,
    json: Json = False,
    at: Location = DEFAULT,
) -> None:
    """Bring worklist items from files; works beside a running server, effective at once.

    Reads DICOM worklist files (.wl, as DCMTK's wlmscpfs uses), DICOM JSON (one object or an array), tables (.csv in
    UTF-8) and folders of them. The columns of a table are DICOM keywords in any spelling: patient_id, patient_name
    (Doe^Jane), patient_birth_date, patient_sex, accession_number, study_instance_uid, requested_procedure_id,
    requested_procedure_description, referring_physician_name, scheduled_station_ae_title,
    scheduled_procedure_step_start_date (2026-11-21), scheduled_procedure_step_start_time (8:30), modality,
    scheduled_procedure_step_id, scheduled_procedure_step_description, scheduled_protocol_code_sequence.code_value and
    every other one. Needed are patient ID and name, station, date, time and modality. An item of the same patient and
    study with one of the same step IDs is replaced, so the same file can be imported again and again. What cannot be
    taken is listed and makes the exit status 1.

    Example: dicomweb worklist import ./orders.csv ./worklist-files --data-dir ./dicomweb-data

    Parameters
    ----------
    paths
        Files and folders.
    json
        Write how many items were added, changed, unchanged and refused as JSON.
    """
    settings = at.settings()
    for path in paths:
        if not os.path.lexists(path):
            raise SettingsError(f"There is no file or folder {path}.")
    sys.exit(asyncio.run(_import(settings, paths, json)))


@worklist.command(name="list")
def list_(
    keys: list[str] | None = None,
    /,
    *,
    json: Json = False,
    limit: Annotated[int, Parameter(validator=Number(gte=1))] = 1000,
    at: Location = DEFAULT,
) -> None:
    """Show the items on the worklist, a line for each step, by the time it begins.

    Example: dicomweb worklist list Modality=CT ScheduledProcedureStepStartDate=20261121 --data-dir ./dicomweb-data

    Parameters
    ----------
    keys
        What to look for, as KEYWORD=VALUE; ranges and wildcards are those of a worklist query.
    json
        Write each item as one line of DICOM JSON.
    limit
        Most items.
    """
    asyncio.run(_list(at.settings(), keys or [], limit, as_json=json))


async def _import(settings: Settings, paths: list[Path], as_json: bool) -> int:
    from dicomweb.importing.worklist_files import UnreadableFile, found, items_in
    from dicomweb.opening import open_archive
    from storage.worklist.items import Worklist

    outcomes: Counter[str] = Counter()
    async with open_archive(settings, create=True) as archive:
        target = Worklist(archive.pool)
        for path in found(paths):
            try:
                items = await asyncio.to_thread(items_in, path)
            except UnreadableFile as error:
                say(f"{path}: {error}")
                outcomes["refused"] += 1
                continue
            for place, dataset in items:
                outcomes[await _bring(target, f"{path}: {place}" if place else str(path), dataset)] += 1
    counts = {name: outcomes[name] for name in ("added", "changed", "unchanged", "refused")}
    line = ", ".join(f"{number:,} {name}" for name, number in counts.items())
    write_either(counts, f"{outcomes.total():,} worklist items: {line}.", as_json=as_json)
    return ExitStatus.INCOMPLETE if outcomes["refused"] else ExitStatus.DONE


async def _bring(target: "Worklist", place: str, dataset: Any) -> str:
    """Bring one item; returns what became of it."""
    from storage.errors import InvalidDicom, LimitExceeded
    from storage.worklist.item import read_item

    try:
        return await target.bring(read_item(dataset, repeatable=True))
    except (InvalidDicom, LimitExceeded) as error:
        say(f"{place}: {error}")
        return "refused"


async def _list(settings: Settings, keys: list[str], limit: int, *, as_json: bool) -> None:
    from dicomweb.importing.worklist_files import UnreadableFile, column_path
    from dicomweb.opening import open_archive
    from storage.matching.conditions import Key
    from storage.worklist.items import Worklist
    from storage.worklist.matching import query_of

    wanted: list[Key] = []
    for text in keys:
        name, separator, value = text.partition("=")
        try:
            path = column_path(name)
        except UnreadableFile:
            raise SettingsError(f"{name}: there is no attribute of this name; keys are KEYWORD=VALUE.") from None
        if not separator:
            raise SettingsError(f"{text}: keys are KEYWORD=VALUE.")
        wanted.append(Key(path, tuple(value.split("\\")), name))
    query = query_of(wanted)
    async with open_archive(settings) as archive:
        for item in await Worklist(archive.pool).search(query, limit=limit):
            if as_json:
                write_json(item.dataset)
            else:
                write(*_lines(item))


def _lines(item: "StoredItem") -> list[str]:
    from storage.dicom.json_values import values_of
    from storage.matching.attributes import tag_of
    from storage.worklist.item import STEPS, first_text

    name: Any = next(iter(values_of(item.dataset[tag_of("PatientName")])), {})
    of_item = [
        first_text(item.dataset, tag_of("PatientID")),
        "=".join(name.values()) if isinstance(name, dict) else "",
        first_text(item.dataset, tag_of("AccessionNumber")),
    ]
    shown = (
        *("ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime", "ScheduledStationAETitle"),
        *("Modality", "ScheduledProcedureStepStatus", "ScheduledProcedureStepID"),
    )
    steps = values_of(item.dataset[STEPS])
    return ["\t".join([*(first_text(step, tag_of(keyword)) for keyword in shown), *of_item]) for step in steps]
