"""Patch sets from mail: the mails, their matches in the catalogue, and mappings by hand."""

from collections.abc import AsyncIterator, Mapping

from pydantic import Field

from db.repositories import patch_sets
from refault import catalogue, series
from refault.errors import CatalogueError, InvalidRequest, SeriesError
from services.api.deps import Resources
from services.api.errors import PointedError
from services.api.patch_sets.schemas import PatchSet
from services.api.patch_sets.service import document_of
from services.api.refusals import UploadTooLarge
from services.api.schemas import Document

MAIL_BYTES_MAX = 8 * 1024 * 1024


class MailedPatch(Document):
    """One mailed patch and its match in the catalogue."""

    index: int = Field(description="What a mapping calls it")
    subject: str
    number: int | None
    total: int | None
    author: str
    date: str | None
    diff_id: str = Field(description="sha256 over what its diff changes")
    patch: str | None = Field(description="Its id in the catalogue; null: not known, or left out")
    matched_by: str | None = Field(
        description="diff, subject (with the beginning of the diff, where no more of it is known), "
        "mapping, left out; null: not matched"
    )
    candidates: list[str] = Field(description="Patches it might be, where it is not matched")
    why: str | None = Field(description="Why it is not matched")


class SkippedMail(Document):
    """A mail that is not a patch of this series."""

    subject: str
    reason: str
    remedy: str = Field(description="The remedy, if any")


class MailReading(Document):
    """The series in a file of mails, and the patch set made of it, if requested."""

    series: str | None = Field(description="The cover letter's subject")
    version: int
    patches: list[MailedPatch]
    unmatched: list[int] = Field(description="Indexes that have to be mapped by hand")
    skipped: list[SkippedMail]
    problems: list[str] = Field(description="What is missing or mixed up")
    remedies: list[str] = Field(description="Remedies for what is not matched")
    patch_set: PatchSet | None = None


async def bounded(chunks: AsyncIterator[bytes]) -> bytes:
    """The body, up to the maximum size of a mailbox."""
    found = bytearray()
    async for chunk in chunks:
        found += chunk
        if len(found) > MAIL_BYTES_MAX:
            raise UploadTooLarge(f"mails of more than {MAIL_BYTES_MAX} bytes: send one series")
    return bytes(found)


def mapping_of(words: list[str]) -> dict[int, str]:
    """``3=zap-account`` and ``4=-`` as a mapping."""
    mapping = {}
    for word in words:
        index, sign, patch_id = word.partition("=")
        if not (sign and patch_id and index.isascii() and index.isdecimal() and len(index) < 7):  # noqa: PLR2004
            raise InvalidRequest(f"map: expected INDEX=PATCH, such as 0=zap-account, got {word!r}")
        mapping[int(index)] = patch_id
    return mapping


def reading_of(
    data: bytes, version: int | None, mapping: Mapping[int, str]
) -> tuple[MailReading, tuple[str, ...]]:
    """The mails and their patches; raises SeriesError or UnknownPatch."""
    found = series.read(data, version)
    matches = series.apply_mapping(series.match(found.patches), mapping)
    return MailReading(
        series=found.title,
        version=found.version,
        patches=[
            MailedPatch(
                index=entry.index,
                subject=entry.mail.subject,
                number=entry.mail.number,
                total=entry.mail.total,
                author=entry.mail.author,
                date=entry.mail.date,
                diff_id=entry.mail.diff_id,
                patch=entry.patch,
                matched_by=entry.by,
                candidates=list(entry.candidates),
                why=entry.why or None,
            )
            for entry in matches
        ],
        unmatched=[entry.index for entry in matches if entry.by is None],
        skipped=[SkippedMail.model_validate(entry) for entry in found.skipped],
        problems=list(found.problems),
        remedies=list(series.remedies(matches, "map=")),
    ), series.patch_ids(matches)


def check_whole(reading: MailReading, *, partial: bool) -> None:
    """Refuses a series with unmatched or missing patches.

    Raises:
        SeriesError: with each mail, and the remedy.
    """
    if reading.unmatched:
        listed = ", ".join(
            f"{at} ({reading.patches[at].subject}): {reading.patches[at].why}"
            for at in reading.unmatched
        )
        raise SeriesError(f"not matched: {listed}; map each by map=INDEX=PATCH, or to -")
    if reading.problems and not partial:
        raise SeriesError(f"{'; '.join(reading.problems)}; send the whole series, or partial=true")


def make(
    resources: Resources, reading: MailReading, ids: tuple[str, ...], name: str, base: str
) -> bool:
    """Stores the patch set of a reading; the row, and whether it is new.

    It belongs to the series of that name, under the version of the mails.

    Raises:
        CatalogueError: the patches resolve to no variant on that base.
    """
    wanted = catalogue.PatchSet(base, ids)
    title = f"{name} v{reading.version}" if reading.version > 1 else name
    with resources.transaction() as session:
        try:
            row, is_new = patch_sets.add(
                session, title, wanted, series=name, version=reading.version
            )
        except CatalogueError as error:
            raise PointedError(error, [""]) from error
        reading.patch_set = document_of(session, row)
    return is_new
