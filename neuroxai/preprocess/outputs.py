"""One scan's results: read, prepared, judged, written, the record last."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from neuroxai import io
from neuroxai.derivatives.prepared import PreparedRecord, check_source, drop_changed, finished, write_record
from neuroxai.errors import NeuroxaiError, refused_by_the_system
from neuroxai.preprocess.options import PrepareOptions
from neuroxai.preprocess.pipeline import Prepared, prepare_scan
from neuroxai.preprocess.qc.flags import Flag, flags, thresholds
from neuroxai.preprocess.qc.measures import Measure, measure
from neuroxai.preprocess.records import inputs_of, output_files, space_label, versions
from neuroxai.preprocess.registration import Engine, create
from neuroxai.preprocess.sources import Source, header_flagged
from neuroxai.preprocess.template import Template, load_template
from neuroxai.space import Space, Volume, mni152

THREADS = ("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Job:
    """What is the same for every scan of a run.

    Parameters
    ----------
    folder : pathlib.Path
        Where results go.
    options : PrepareOptions
        The choices.
    engine : str
        Name of the registration engine.
    template : tuple of str or None
        Paths of another template and its mask.
    drop_flagged : bool
        Write no scan that has a flag.
    draw, draw_filling : callable or None
        Draw the quality figure, and what filling changed.
    """

    folder: Path
    options: PrepareOptions
    engine: str
    template: tuple[str | None, str | None]
    drop_flagged: bool
    draw: Callable[..., Any] | None
    draw_filling: Callable[..., Any] | None = None


@dataclass(frozen=True)
class Result:
    """A scan's record, or why there is none."""

    participant_id: str
    session_id: str | None
    record: PreparedRecord | None = None
    kept: bool = False
    error: str = ""


def work(job: Job, source: Source) -> Result:
    """Prepare one scan and write it; errors come back as text, since one scan must not end a cohort."""
    who = source.participant_id, source.session_id
    # one thread a process: the same bytes for any number of jobs, and no fight over the cores
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        files, inputs = output_files(job.folder, source, job.options), inputs_of(source)
        record = finished(files, inputs, job.drop_flagged)
        if record is not None:
            return Result(*who, record, kept=True)
        check_source(files["record"], source.scan, inputs)
        drop_changed(files, inputs)
        prepared = _prepared(job, source)
        try:
            record = _written(job, source, prepared, files, inputs)
        except BaseException:
            # half of a result would be taken for one
            for file in files.values():
                file.unlink(missing_ok=True)
            raise
        return Result(*who, record)
    except NeuroxaiError as error:
        return Result(*who, error=_line(str(error)))
    except Exception as error:
        return Result(*who, error=_line(refused_by_the_system(error) or f"{type(error).__name__}: {error}"))


def _line(text: str) -> str:
    """Put a message into one line of at most 1,000 letters: libraries' own have many."""
    return " ".join(text.split())[:1000]


class _Tools(NamedTuple):
    """What every scan of a run needs; the template as it is registered to, and on the grid of the results."""

    engine: Engine
    template: Template
    on_grid: Template
    grid: Space


@lru_cache(maxsize=1)
def _tools(engine: str, template: tuple[str | None, str | None], spacing: float) -> _Tools:
    """Make them once a process."""
    grid, chosen = mni152(spacing), load_template(template[0], template[1])
    brain = Volume(chosen.brain.data.astype(np.float32), chosen.brain.space).resampled_to(grid)
    on_grid = Template(chosen.name, chosen.t1.resampled_to(grid), Volume(brain.data >= 0.5, grid))
    return _Tools(create(engine), chosen, on_grid, grid)


def _prepared(job: Job, source: Source) -> Prepared:
    tools = _tools(job.engine, job.template, job.options.spacing)
    return prepare_scan(source, job.options, tools.engine, tools.template, tools.grid)


def _written(
    job: Job, source: Source, prepared: Prepared, files: dict[str, Path], inputs: dict[str, Any]
) -> PreparedRecord:
    engine, template, on_grid, _ = _tools(job.engine, job.template, job.options.spacing)
    options = job.options
    measures, found = _judged(source, options, prepared, on_grid)
    dropped = job.drop_flagged and bool(found)
    description = f"prepared by neuroxai, {options.arm} registration"
    files["record"].unlink(missing_ok=True)  # what it says is no longer so
    for remains in files["record"].parent.glob(".*.tmp.*"):  # of a run that was killed
        remains.unlink(missing_ok=True)
    written = [io.write_volume(files["native_mask"], prepared.native_brain, np.uint8, description)]
    written += prepared.mapping.save(
        job.folder, source.participant_id, source.session_id, options.modality, space_label(options.arm)
    )
    if dropped:
        files["scan"].unlink(missing_ok=True)
    else:
        written += [
            io.write_volume(files["scan"], prepared.image, description=description),
            io.write_volume(files["mask"], prepared.mask, np.uint8, description),
        ]
        if prepared.lesions is not None:
            written.append(io.write_volume(files["lesions"], prepared.lesions, np.uint8, description))
    before, after = prepared.unfilled, prepared.head.scan
    if job.draw_filling is not None and before is not None:
        changed = Volume(before.data != after.data, after.space)
        job.draw_filling(files["filling"], scan=before, filled=after, lesions=changed, name=source.title)
    if job.draw is not None:
        job.draw(
            files["figure"],
            native=(prepared.scan, prepared.native_brain),
            prepared=prepared.image,
            template=on_grid,
            title=f"{source.title}   registration: {options.arm}",
            measures=measures,
            flags=found,
        )
    acquisition = dict(prepared.acquisition)
    record = PreparedRecord(
        skull_stripped=options.brain != "none",
        sources={role: str(path) for role, path in source.files().items()} | {"scan": str(source.scan)},
        inputs=inputs,
        parameters={**options.to_dict(), "engine": job.engine, "template": template.name},
        versions=versions(options, engine),
        brain_from=acquisition.pop("BrainFrom"),
        by_t1w=acquisition.pop("ByT1w"),
        acquisition=acquisition,
        participant=source.participant_id,
        session=source.session_id,
        space=space_label(options.arm),
        native_space=prepared.scan.space.to_dict(),
        modality=options.modality,
        quality=measures,
        flags=[str(flag) for flag in found],
        dropped=dropped,
        sizes={path.name: path.stat().st_size for path in written},
    )
    write_record(files["record"], record)
    return record


def _judged(
    source: Source, options: PrepareOptions, prepared: Prepared, template: Template
) -> tuple[dict[str, Measure], list[Flag]]:
    """Measure a scan's quality and flag what a person should look at."""
    with header_flagged():
        orientation = None if source.dicom else io.read_orientation(source.scan)
    measures = measure(
        scan=prepared.scan,
        brain=prepared.native_brain,
        prepared=prepared.image,
        prepared_brain=prepared.mask,
        template=template,
        mapping=prepared.mapping,
        orientation=orientation,
    )
    limits = thresholds(options.arm, options.modality)
    if prepared.head.how == "stripped":  # seen, and dealt with
        limits = replace(limits, head_share=None)
    if options.brain == "none":  # the template, which has no skull, is no judge of a head
        limits = replace(limits, pearson=None)
    return measures, flags(measures, limits)
