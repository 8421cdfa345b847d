"""`fundus-diag case`: a report about one person's photographs."""

from pathlib import Path

import tyro

from fundus_diag.cli.parsing import File
from fundus_diag.cli.quiet import import_tensorflow
from fundus_diag.explain.settings import Settings

ONE_METHOD = Settings()


def case(
    run: File,
    /,
    images: tuple[Path, ...],
    out: Path,
    segment: Path | None = None,
    findings: Path | None = None,
    patient_pattern: str | None = None,
    settings: tyro.conf.OmitArgPrefixes[Settings] = ONE_METHOD,
):
    """Write a report about one person's photographs: outlines, figures, and words made of them.

    Args:
        run: Run directory.
        images: One photograph, or one of each eye; which is which is read from the names.
        out: Folder to write to: case.html, whole in itself, and case.json, all that is in it.
        segment: Run of `segment train`: its classes are outlined, counted and measured.
        findings: Run of `train --task findings`: what it calls is said in words.
        patient_pattern: Regular expression that finds (?P<patient>..) and (?P<eye>..) in the name
            of a photograph.
        settings: Of the maps; the first method counts.
    """
    from fundus_diag.runs.run_files import SEGMENTER, read_config

    config = read_config(run)  # what is mistyped is said before TensorFlow is imported
    if segment is not None:
        read_config(segment, SEGMENTER)
    if findings is not None:
        read_config(findings)
    import_tensorflow()
    from fundus_diag.data.gather import check_paths, gather
    from fundus_diag.data.names import patient_pattern as pattern_of
    from fundus_diag.export.card import model_card
    from fundus_diag.report.case_report import write_case_report
    from fundus_diag.runs.run import load_run
    from fundus_diag.runs.salt import salt_maker
    from fundus_diag.runs.segmenter import load_segmenter
    from fundus_diag.runs.words import check_words

    check_paths(images)
    pattern = pattern_of(patient_pattern) if patient_pattern else None
    found = gather(images, pattern, None, salt_maker(run)).table
    words = load_run(findings) if findings else None
    if words:
        check_words(words, "--findings")
    opened = load_run(run, config)
    page, facts = write_case_report(
        opened,
        found,
        out,
        model_card(opened),
        segmenter=load_segmenter(segment) if segment else None,
        words=words,
        settings=settings,
    )
    for one in facts["sentences"]["en"]:
        print(one["text"])
    print(page)
    return 0
