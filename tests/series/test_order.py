"""Versions, numbers, copies: which patches are the series, and what is said of the rest."""

import pytest

from refault.errors import SeriesError
from refault.series import read
from tests.series.mails import diff, mail, mbox


def one(subject, line=None):
    return mail(subject, diff(line or "".join(filter(str.isalnum, subject))))


def read_all(*subjects, **given):
    return read(mbox(*map(one, subjects)), **given)


def numbers(reading):
    return [entry.number for entry in reading.patches]


def test_a_series_that_is_whole_has_no_problems():
    for subjects in (["[PATCH 1/2] a", "[PATCH 2/2] b"], ["[PATCH] a"], ["[PATCH] a", "[PATCH] b"]):
        assert read_all(*subjects).problems == ()


@pytest.mark.parametrize(
    ("subjects", "problem"),
    [
        (["[PATCH 1/3] a", "[PATCH 3/3] c"], "2/3 is missing"),
        (["[PATCH 2/4] b"], "1/4, 3/4, 4/4 are missing"),
        (["[PATCH 1/999999] a"], "2/999999, 3/999999, 4/999999"),
        (
            ["[PATCH 1/2] a", "[PATCH 2/3] b", "[PATCH 3/3] c"],
            "mails of different series are mixed",
        ),
        (
            ["[PATCH 1/1] a", "[PATCH] b"],
            "a patch without a number is among numbered ones: 'b'",
        ),
        (["[PATCH 1/1] a", "[PATCH 2/1] b"], "2/1 has a number beyond the last"),
    ],
)
def test_what_is_missing_or_mixed_is_said(subjects, problem):
    [said] = read_all(*subjects).problems
    assert said.startswith(problem)


def test_a_mail_that_is_there_without_a_diff_is_named_as_such():
    data = mbox(one("[PATCH 1/2] a"), mail("[PATCH 2/2] b", "no diff\n"))
    assert read(data).problems == ("2/2 has no diff that can be read: '[PATCH 2/2] b'",)


def test_of_several_versions_the_newest_whole_one_is_read_and_the_others_are_left_out():
    versions = ["[PATCHv2 1/2] a", "[PATCHv2 2/2] b", "[PATCH 1/2] c", "[PATCH 2/2] d"]
    reading = read_all(*versions)
    assert (reading.version, numbers(reading), reading.problems) == (2, [1, 2], ())
    assert {entry.reason for entry in reading.skipped} == {"of v1, not v2"}
    assert read_all(*versions, version=1).version == 1


def test_a_newer_version_that_is_not_whole_is_not_read_in_silence():
    reading = read_all("[PATCH 1/2] a", "[PATCH 2/2] b", "[PATCH v2 1/2] c")
    assert (reading.version, numbers(reading)) == (1, [1, 2])
    assert reading.problems == ("v1 is read, because v2 is incomplete: 2/2 is missing",)
    asked = read_all("[PATCH 1/2] a", "[PATCH 2/2] b", "[PATCH v2 1/2] c", version=2)
    assert (asked.version, asked.problems) == (2, ("2/2 is missing",))


def test_a_copy_counts_once_and_two_numbers_are_no_copy():
    data = mbox(
        mail("[PATCH 1/2] a"), mail("[PATCH RESEND 1/2] a"), mail("[PATCH] a"), one("[PATCH 2/2] b")
    )
    reading = read(data)
    assert numbers(reading) == [1, 2]
    assert [entry.reason for entry in reading.skipped] == ["a duplicate of another mail"] * 2
    same = read(mbox(mail("[PATCH 1/2] a"), mail("[PATCH 2/2] b")))
    assert numbers(same) == [1, 2]


def test_two_series_in_one_file_are_refused_by_the_number_they_both_claim():
    with pytest.raises(SeriesError, match="are number 1: 'a' and 'c'; upload one series at a time"):
        read_all("[PATCH 1/2] a", "[PATCH 2/2] b", "[PATCH 1/2] c", "[PATCH 2/2] d")
