"""Pairs of left-over persons: found by blocks, compared, weighed, and assigned one to one where nothing speaks against.

The model is that of I. P. Fellegi and A. B. Sunter, "A Theory for Record Linkage", JASA 64 (1969): each comparison adds
log2(m / u) of the level it found to the logarithm of the prior odds. A name that agrees weighs by its frequency
(W. E. Winkler, "Frequency-Based Matching in the Fellegi-Sunter Model", 1989).
"""

from __future__ import annotations

import hashlib
import math

import polars as pl

from ingest.match_names import digits_off, fits_but_unreadable, one_character_off
from ingest.match_pools import Pools
from ingest.match_settings import MISSING, NO_TWIN, TWIN, Comparison, Rules

_DATE = "%Y%m%d"
#: digits of an ID number before its check character
_BODY = 17


def case_number(left: str, right: str) -> str:
    """Number of the case of two tokens, the same in every year; it reveals neither."""
    return hashlib.sha256(f"match {left} {right}".encode()).hexdigest()[:16].upper()


def candidate_pairs(pools: Pools, rules: Rules) -> pl.DataFrame:
    """Pairs that share a block: left and right, as row numbers of the pools; each pair once, in order."""
    left, right = pools.left.with_row_index("left"), pools.right.with_row_index("right")
    found = []
    for block in rules.blocks:
        if block == ("kin",):
            mine = pools.kin.join(left.select("left", "person_token"), on="person_token").select("left", "kin")
            theirs = right.select("right", kin=pl.col("guardian")).drop_nulls()
            pairs = mine.join(theirs, on="kin")
        else:
            keys = list(block)
            pairs = left.select("left", *keys).drop_nulls().join(right.select("right", *keys).drop_nulls(), on=keys)
        found.append(pairs.select("left", "right"))
    return pl.concat(found).unique().sort("left", "right")


def _levels(comparison: Comparison, pairs: pl.DataFrame) -> pl.Series:
    """Level that a comparison finds for each pair."""
    first, second = f"{comparison.name}_left", f"{comparison.name}_right"
    equal = pl.col(first) == pl.col(second)
    is_missing = pl.col(first).is_null() | pl.col(second).is_null()
    left, right = pairs[first], pairs[second]
    found: list[tuple[pl.Expr, str]] = []
    if comparison.kind == "name":
        found = [
            (equal & ~pl.col(first).str.contains("\ufffd"), "equal"),
            (pl.lit(pl.Series(fits_but_unreadable(left, right))), "unreadable"),
            (pl.lit(pl.Series(one_character_off(left, right))), "one_off"),
        ]
    elif comparison.kind == "date":
        one, _ = digits_off(left.dt.strftime(_DATE), right.dt.strftime(_DATE), 8)
        swapped = (
            (pl.col(first).dt.year() == pl.col(second).dt.year())
            & (pl.col(first).dt.month() == pl.col(second).dt.day())
            & (pl.col(first).dt.day() == pl.col(second).dt.month())
        )
        found = [(equal, "equal"), (swapped, "day_month_swapped"), (pl.lit(pl.Series(one)), "one_digit")]
    elif comparison.kind == "equal":
        found = [(equal, "equal")]
    elif comparison.kind == "area":
        found = [
            (pl.col(first).str.slice(0, length) == pl.col(second).str.slice(0, length), level)
            for length, level in ((12, "village"), (9, "township"), (6, "county"))
        ]
    elif comparison.kind == "number":
        one, crossed = digits_off(left, right, _BODY)
        found = [(pl.lit(pl.Series(one)), "one_digit"), (pl.lit(pl.Series(crossed)), "swapped")]
    otherwise = {"area": "elsewhere", "kin": "differs"}.get(comparison.kind, "different")
    if comparison.kind == "kin":
        found = [(pl.col(first), "agrees")]
    expression: pl.Expr = pl.lit(otherwise)
    for condition, level in reversed(found):
        expression = pl.when(condition).then(pl.lit(level)).otherwise(expression)
    expression = pl.when(is_missing).then(pl.lit(MISSING)).otherwise(expression)
    return pairs.select(expression.alias(comparison.name)).to_series()


#: comparison -> the column of the pools that it compares
_SOURCE = {"name": "name_key", "birth": "birth", "sex": "sex", "place": "place", "id_number": "number"}


def compare(pools: Pools, pairs: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """Add to each pair the level of each comparison, and whether a twin could be meant.

    Args:
        pools: the persons.
        pairs: of candidate_pairs.
        rules: the rules.
    """
    frame = pairs
    for name, column in _SOURCE.items():
        frame = frame.with_columns(
            pools.left[column].gather(pairs["left"]).alias(f"{name}_left"),
            pools.right[column].gather(pairs["right"]).alias(f"{name}_right"),
        )
    kin = (
        pools.kin.join(pools.left.with_row_index("left").select("left", "person_token"), on="person_token")
        .select("left", "kin", is_kin=pl.lit(True))
        .unique()
    )
    has_kin = kin.select("left", has_kin=pl.lit(True)).unique()
    frame = (
        frame.with_columns(kin=pools.right["guardian"].gather(pairs["right"]))
        .join(kin, on=["left", "kin"], how="left", maintain_order="left")
        .join(has_kin, on="left", how="left", maintain_order="left")
        .with_columns(
            # null: there is nobody to compare with
            guardian_left=pl.when(pl.col("has_kin")).then(pl.col("is_kin").fill_null(False)),
            guardian_right=pl.col("kin"),
        )
    )
    is_twin = pools.left["is_twin"].gather(pairs["left"]) | pools.right["is_twin"].gather(pairs["right"])
    levels = [_levels(comparison, frame) for comparison in rules.comparisons.values()]
    twin = is_twin.replace_strict({True: TWIN, False: NO_TWIN}, return_dtype=pl.String).alias("twin")
    return pairs.with_columns(*levels, twin)


def weigh(pools: Pools, compared: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """Add the sum of weights in bits (``bits``), and the probability that follows (``score``)."""
    count = max(pools.right.height, 1)
    # how often each name is found among the pupils; what nobody bears is as rare as one bearer
    share = pools.right.group_by("name_key").agg(share=pl.len() / count)
    frame = compared.with_columns(name_key=pools.left["name_key"].gather(compared["left"])).join(
        share, on="name_key", how="left", maintain_order="left"
    )
    total = pl.lit(math.log2(rules.expected_share / count))
    for comparison in rules.comparisons.values():
        level = pl.col(comparison.name)
        bits: pl.Expr = pl.lit(0.0)
        for name, about in comparison.levels.items():
            value = (
                pl.lit(about.bits)
                if about.bits is not None
                else (about.m / pl.max_horizontal(pl.col("share"), pl.lit(rules.lowest_frequency))).log(2)
            )
            bits = pl.when(level == name).then(value).otherwise(bits)
        if comparison.instead_when:
            other, values = comparison.instead_when
            applies = pl.col(other).is_in(list(values))
            for name, value_instead in comparison.instead_bits.items():
                bits = pl.when(applies & (level == name)).then(pl.lit(value_instead)).otherwise(bits)
        total = total + bits
    # rounded, so that the order in which a sum is made shows nowhere
    return frame.with_columns(bits=total.round(6)).with_columns(
        score=(1 / (1 + (-pl.col("bits") * math.log(2)).exp())).round(4)
    )


def _grounds(rules: Rules) -> pl.Expr:
    """Method by which a pair may be matched without review; null: by none."""
    expression: pl.Expr = pl.lit(None, dtype=pl.String)
    for ground in reversed(rules.grounds):
        holds = pl.all_horizontal(pl.col(name).is_in(list(levels)) for name, levels in ground.levels.items())
        expression = pl.when(holds).then(pl.lit(ground.method)).otherwise(expression)
    return expression


def _best(frame: pl.DataFrame, side: str, other: str) -> pl.DataFrame:
    """Add the bits of the best other candidate of a pair's left or right person, as ``rival_<side>``."""
    ordered = frame.sort("bits", "left", "right", descending=[True, False, False]).with_columns(
        turn=pl.int_range(pl.len()).over(side),
        first=pl.col("bits").first().over(side),
        second=pl.col("bits").get(1, null_on_oob=True).over(side),
    )
    rival = pl.when(pl.col("turn") == 0).then(pl.col("second")).otherwise(pl.col("first"))
    return ordered.with_columns(rival.alias(f"rival_{side}")).drop("turn", "first", "second").sort("left", other)


def assign(weighed: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """Decide each pair: matched, for review, or nothing; one to one, the clearest first.

    A pair is matched where its score and a ground allow it and no other candidate of either person comes within the
    margin. What is matched is no candidate of others any more, which may make those clear in turn.

    Args:
        weighed: pairs with levels, bits, score, and ``decided``: true (the same person), false (another), null.
        rules: the rules.

    Returns:
        Pairs with ``status`` (matched, review), ``method`` and ``preference`` (1: best candidate of the left person);
        other pairs are left out.
    """
    frame = weighed.filter(pl.col("decided").is_null() | pl.col("decided")).with_columns(ground=_grounds(rules))
    reviewed = frame.filter(pl.col("decided")).sort("bits", "left", "right", descending=[True, False, False])
    # two decisions that contradict each other: the likelier holds, the other cannot
    while True:
        one_each = reviewed.unique("left", keep="first", maintain_order=True)
        one_each = one_each.unique("right", keep="first", maintain_order=True)
        if one_each.height == reviewed.height:
            break
        reviewed = one_each
    matched = [reviewed.with_columns(method=pl.lit("reviewed"))]
    open_pairs = frame.filter(pl.col("decided").is_null())
    new = reviewed
    while True:
        open_pairs = open_pairs.filter(
            ~pl.col("left").is_in(new["left"].implode()) & ~pl.col("right").is_in(new["right"].implode())
        )
        rivals = _best(_best(open_pairs, "left", "right"), "right", "right")
        rival = pl.max_horizontal("rival_left", "rival_right")
        new = rivals.filter(
            (pl.col("score") >= rules.accept)
            & pl.col("ground").is_not_null()
            & (rival.is_null() | (pl.col("bits") - rival >= rules.margin_bits))
        ).drop("rival_left", "rival_right")
        if new.is_empty():
            break
        matched.append(new.with_columns(method=pl.col("ground")))
    accepted = pl.concat(matched).with_columns(status=pl.lit("matched"), preference=pl.lit(1, dtype=pl.Int64))
    by_guardian = pl.col("guardian") == "agrees"
    held = (
        open_pairs.filter(pl.col("score") >= rules.review)
        .sort("bits", "left", "right", descending=[True, False, False])
        .with_columns(preference=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("left"))
        .filter(pl.col("preference") <= rules.candidates)
        .with_columns(
            method=pl.when(by_guardian).then(pl.lit("name_birth_guardian")).otherwise(pl.lit("name_birth_village")),
            status=pl.lit("review"),
        )
    )
    return pl.concat([accepted, held.select(accepted.columns)]).sort("left", "preference")
