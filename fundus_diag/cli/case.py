"""`fundus-diag case`: a report about one person's photographs."""

from pathlib import Path

import tyro

from fundus_diag.cli.paths import check_file
from fundus_diag.cli.quiet import import_tensorflow
from fundus_diag.explain.settings import Settings
from fundus_diag.utils.errors import UsageError

ONE_METHOD = Settings()


def case(
    run: tyro.conf.Positional[Path | None] = None,
    /,
    images: tuple[Path, ...] = (),
    out: Path | None = None,
    segment: Path | None = None,
    findings: Path | None = None,
    patient_pattern: str | None = None,
    rating: Path | None = None,
    rating_summary: tuple[Path, ...] = (),
    seed: int = 0,
    settings: tyro.conf.OmitArgPrefixes[Settings] = ONE_METHOD,
):
    """Write a report about one person's photographs: outlines, figures, and words made of them.

    Args:
        run: Run directory.
        images: One photograph, or one of each eye; which is which is read from the names.
        out: Folder to write to: case.html, whole in itself, and case.json, all that is in it. Of
            --rating-summary a CSV file.
        segment: Run of `segment train`: its classes are outlined, counted and measured.
        findings: Run of `train --task findings`: what it calls is said in words, beside the regions
            that show it.
        patient_pattern: Regular expression that finds (?P<patient>..) and (?P<eye>..) in the name
            of a photograph.
        rating: In place of a report: folder to write a page of blinded cases to, on which readers
            rate the maps of several --methods, of any number of photographs, and its key.
        rating_summary: What readers said: key.csv of that page, then their files; no run is needed.
        seed: Of the order of cases and maps on that page.
        settings: Of the maps; of a report the first method counts.

    Example:
        fundus-diag case reports/odir --images 7_left.jpg 7_right.jpg --out reports/case_7
    """
    if rating_summary:
        return _summarised(*rating_summary, out=out)
    if run is None or not images:
        raise UsageError("case: name a run and --images")
    if (out is None) == (rating is None):
        raise UsageError("case: --out for a report, or --rating for a page of blinded cases")
    from fundus_diag.runs.run_files import SEGMENTER, read_config

    config = read_config(run)  # what is mistyped is said before TensorFlow is imported
    if segment is not None:
        read_config(segment, SEGMENTER)
    if findings is not None:
        read_config(findings)
    from fundus_diag.data.gather import check_paths, gather

    check_paths(images)
    import_tensorflow()
    from fundus_diag.data.names import patient_pattern as pattern_of
    from fundus_diag.export.card import model_card
    from fundus_diag.report.case_report import write_case_report
    from fundus_diag.runs.run import load_run
    from fundus_diag.runs.salt import salt_maker
    from fundus_diag.runs.segmenter import load_segmenter
    from fundus_diag.runs.words import check_words

    if rating is not None:
        return _rated(run, config, images, patient_pattern, rating, settings, seed)
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


def _rated(run, config, images, pattern, out, settings, seed):
    from fundus_diag.data.names import patient_pattern
    from fundus_diag.report.rating import write_rating
    from fundus_diag.runs.cases import cases_of_files
    from fundus_diag.runs.run import load_run

    opened = load_run(run, config)
    cases = cases_of_files(opened, images, pattern and patient_pattern(pattern))
    page, key = write_rating(opened, cases, out, settings, seed)
    print(f"for the readers: {page}")
    print(f"which map is which, not for them: {key}")
    return 0


def _summarised(key, *files, out):
    if not files:
        raise UsageError("--rating-summary: the key of the page, then a file of each reader")
    for path in (key, *files):
        check_file(path)
    from fundus_diag.report.rating import QUESTIONS, rating_summary

    means, agreements = rating_summary(key, files, out)
    for name, text in QUESTIONS.items():
        print(text)
        for row in means[means["question"] == name].to_dict("records"):
            ends = f"({row['rating_low']:.2f} to {row['rating_high']:.2f})"
            number = row["n"] - row["rating_undefined"]
            print(f"  {row['method']}: {row['rating']:.2f} {ends}, {number} ratings")
        (row,) = agreements[agreements["question"] == name].to_dict("records")
        print(
            f"  agreement: Fleiss {row['fleiss']:.2f} ({row['fleiss_low']:.2f} to "
            f"{row['fleiss_high']:.2f}), weighted {row['weighted']:.2f} "
            f"({row['weighted_low']:.2f} to {row['weighted_high']:.2f})"
        )
    return 0
