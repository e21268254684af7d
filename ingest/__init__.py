"""Ingest: contract → read → normalize → check → pseudonymize → land. One feed, one file, one transaction."""

from ingest.codelists import CodeList, CodeListError, load_code_lists
from ingest.contract import Contract, ContractError, load_contracts
from ingest.identity import TokenKey, TokenKeyError, ensure_token_key, read_token_key
from ingest.landing import LandingDriftError, ensure_landing
from ingest.load import (
    CheckReport,
    FeedLoader,
    check_file,
    feed_of,
    load_feed,
    load_file,
    record_unrecognized,
)
from ingest.match_settings import MatchingError
from ingest.matching import MatchReport, match_persons
from ingest.problems import Rejection, file_rules, row_rules
from ingest.reports import FeedReport, LoadReport
from ingest.sources import Discovery, Intake, SourceError, SourceSettingsError, discover

__all__ = [
    "CheckReport",
    "CodeList",
    "CodeListError",
    "Contract",
    "ContractError",
    "Discovery",
    "FeedLoader",
    "FeedReport",
    "Intake",
    "LandingDriftError",
    "LoadReport",
    "MatchReport",
    "MatchingError",
    "Rejection",
    "SourceError",
    "SourceSettingsError",
    "TokenKey",
    "TokenKeyError",
    "check_file",
    "discover",
    "ensure_landing",
    "ensure_token_key",
    "feed_of",
    "file_rules",
    "load_code_lists",
    "load_contracts",
    "load_feed",
    "load_file",
    "match_persons",
    "read_token_key",
    "record_unrecognized",
    "row_rules",
]
