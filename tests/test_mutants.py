"""The list of faults that the tests have to notice: `make mutants` plants them, one by one."""

import mutants
import pytest


def test_each_fault_can_be_planted_and_names_tests_that_are_there():
    found = mutants.mutants()
    assert len(found) > 100
    for mutant in found:
        assert mutants.planted(mutant) != (mutants.ROOT / mutant["file"]).read_text("utf-8")
        assert mutant["tests"], mutants.said(mutant)
        for test in mutant["tests"]:
            path, _, name = test.partition("::")
            text = (mutants.ROOT / path).read_text("utf-8")
            assert f"def {name.partition('[')[0]}(" in text or not name, test


def test_a_fault_that_is_not_there_is_an_error():
    mutant = mutants.mutants()[0]
    with pytest.raises(ValueError, match="stands there 0 times"):
        mutants.planted(mutant | {"old": "no such text"})
