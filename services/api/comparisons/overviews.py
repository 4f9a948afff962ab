"""The verdicts on every cell as part of a document, and the verdict on all of them."""

from refault.compare import worst_known
from services.api.batches.schemas import BatchVerdict, VerdictReason
from services.api.comparisons.judging import Judged
from services.api.comparisons.means import common_of, means_of
from services.api.comparisons.schemas import Common, Mean, Overview, OverviewColumn, OverviewTrace


def overview_of(judged: Judged) -> Overview:
    """The verdict and the numbers of every cell."""
    reason = worst_known(judged.traces)
    means = means_of(judged.traces, judged.moves)
    return Overview(
        columns=[OverviewColumn.model_validate(group) for group in judged.groups],
        traces=[
            OverviewTrace.model_construct(
                name=trace.name,
                digest=trace.digest or "",
                verdicts=[verdict.value for verdict, *_ in trace.judgements],
                **moves._asdict(),
            )
            for trace, moves in zip(judged.traces, judged.moves, strict=True)
        ],
        means=[None if each is None else Mean.model_validate(each) for each in means],
        common=Common.model_validate(common_of(judged.traces, judged.moves)),
        worst=None if reason is None else VerdictReason.model_validate(reason.to_dict()),
    )


def verdict_of(judged: Judged) -> BatchVerdict:
    """The verdict on all cells."""
    return BatchVerdict.model_validate(judged.overall.to_dict())
