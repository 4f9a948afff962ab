"""Each capture that arrives is asked about itself; a worker answers beside its other work."""

import logging
from collections.abc import Sequence

from sqlalchemy.orm import Session

from db.errors import QuotaExceeded
from db.models import Trace
from db.repositories import questions
from db.shards.messages import QuestionMessage
from refault.questions import Itself, Question

_log = logging.getLogger("refault.api")


def ask(session: Session, trace: Trace) -> Sequence[QuestionMessage]:
    """Ask for a verification where there is something to verify; what to send after the commit.

    A trace is stored though too many wait: it can be asked for later.
    """
    if trace.content != "capture" or trace.header.get("origin") == "host-events":
        return ()
    try:
        row, _ = questions.ask(session, Question(Itself()), trace, (), ())
    except QuotaExceeded as error:
        _log.warning("trace %s is not verified now: %s", trace.digest[:12], error)
        return ()
    return (QuestionMessage(row.id),) if row.state == "queued" else ()
