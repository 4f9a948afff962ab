"""Vega-Lite to SVG in this process, without a browser and without a network."""

import json
from functools import lru_cache
from typing import Any

# A page shows one chart per trace in two themes; this many are kept.
_KEPT = 64
_VEGA_LITE = "6.1"


def svg_of(spec: dict[str, Any]) -> str:
    """The drawing of a Vega-Lite specification. The first one takes about a second."""
    return _draw(json.dumps(spec, sort_keys=True))


@lru_cache(maxsize=_KEPT)
def _draw(spec: str) -> str:
    # It takes 9 MB; an API that only takes uploads never draws.
    import vl_convert  # noqa: PLC0415

    # The specification carries its data; nothing may be fetched for it.
    return vl_convert.vegalite_to_svg(spec, vl_version=_VEGA_LITE, allowed_base_urls=[])
