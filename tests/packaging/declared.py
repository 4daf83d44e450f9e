"""Which metrics a gateway exposes, with their labels."""

from __future__ import annotations

import importlib

#: What every scrape adds.
SCRAPED = {"job", "instance"}

_BY_OP = {"protocol", "export", "op"}
_REFERENCE = {
    "nbdgw_build_info": {"version", "twisted", "boto3"},
    "nbdgw_cache_hits_total": {"export", "cache"},
    "nbdgw_cache_misses_total": {"export", "cache"},
    "nbdgw_config_last_reload_successful": set[str](),
    "nbdgw_connections": {"protocol", "export"},
    "nbdgw_crc_errors_total": {"export"},
    "nbdgw_export_open": {"export"},
    "nbdgw_gc_moved_bytes_total": {"export"},
    "nbdgw_inflight_requests": {"protocol", "export"},
    "nbdgw_journal_failed": {"export"},
    "nbdgw_journal_used_ratio": {"export"},
    "nbdgw_request_bytes_total": _BY_OP,
    "nbdgw_request_errors_total": {"protocol", "export", "error"},
    "nbdgw_request_seconds": _BY_OP,
    "nbdgw_requests_total": _BY_OP,
    "nbdgw_s3_bytes_total": {"export", "direction"},
    "nbdgw_s3_request_seconds": {"export", "verb"},
    "nbdgw_s3_requests_total": {"export", "verb", "code"},
    "nbdgw_s3_retries_total": {"export", "verb"},
    "nbdgw_tls_certificate_expiry_timestamp_seconds": {"listener"},
    "nbdgw_volume_dirty_bytes": {"export"},
    "nbdgw_volume_failed": {"export"},
    "nbdgw_volume_fenced": {"export"},
    "nbdgw_volume_objects": {"export"},
    "nbdgw_volume_oldest_dirty_seconds": {"export"},
    "nbdgw_zero_bytes_avoided_total": {"export"},
}


def declared() -> dict[str, set[str]]:
    """Labels by name, as a query would use them; from the code where it declares them."""
    try:
        measures = importlib.import_module("gateway.measures")
    except ModuleNotFoundError:
        families = dict(_REFERENCE)
        histograms = {"nbdgw_request_seconds", "nbdgw_s3_request_seconds"}
    else:
        families = {one.full_name: set(one.labels) for one in measures.ALL}
        histograms = {one.full_name for one in measures.ALL if one.kind == measures.HISTOGRAM}
    for name in histograms:
        labels = families.pop(name)
        families[f"{name}_bucket"] = labels | {"le"}
        families[f"{name}_count"] = families[f"{name}_sum"] = labels
    return families
