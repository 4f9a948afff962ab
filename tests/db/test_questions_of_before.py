"""Questions asked before workers claimed by engine: none waits for ever after the upgrade."""

import sqlalchemy as sa

from db import schema
from db.models import FIRST_PROJECT
from db.session import create_engine
from tests.builders import digest_of

BEFORE = """
INSERT INTO variants (digest, name, engine, base, patches, parameters)
  VALUES ('%(variant)s', 'zap', 'shadow', 'v2.6.34-pre', '[]', '{}'),
         ('%(kernel)s', 'mine', 'kernel', 'kernel:mine', '[]', '{}');
INSERT INTO traces (id, digest, name, content, guest_mode, vcpu_count, size_bytes, event_count,
                    instruction_count, truncated, events_by_kind, header, project_id)
  VALUES ('%(id)s', '%(trace)s', 'boot', 'capture', 'long', 1, 10, 20, 30, false, '{}', '{}',
          '%(project)s');
INSERT INTO questions (id, project_id, kind, trace_id, asked, document_digest, state, attempt,
                       lost_count)
  VALUES ('%(id)s', '%(project)s', 'divergence', '%(id)s',
          '{"question": {}, "variants": ["%(variant)s", "%(kernel)s"]}', '%(trace)s', 'queued', 1,
          0);
"""


def test_they_name_the_engines_of_their_variants(empty_database_url):
    engine = create_engine(empty_database_url)
    schema.upgrade(engine, "0023")
    names = {name: digest_of(name) for name in ("variant", "kernel", "trace")}
    names |= {"id": "01930000-0000-7000-8000-000000000000", "project": FIRST_PROJECT}
    with engine.begin() as connection:
        connection.exec_driver_sql(BEFORE % names)

    schema.upgrade(engine)

    with engine.connect() as connection:
        asked = connection.scalar(sa.text("SELECT asked FROM questions"))
    engine.dispose()
    assert asked["engines"] == ["kernel", "shadow"]
    assert asked["variants"] == [names["variant"], names["kernel"]]
