"""How a column of times is read: as numbers that keep their order. Two times that differ never
become equal, for then the file's order would count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .sql import first_value

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MICROS = 'epoch_us(TRY_CAST("time" AS TIMESTAMPTZ))'
# The seventh to the ninth digit of a fraction, which DuckDB cuts off.
NINTH = "rpad(regexp_extract(\"time\", '\\.[0-9]{6}([0-9]{1,3})', 1), 3, '0')::BIGINT"
DIGITS = "regexp_replace(regexp_replace(\"time\", '[eE].*', ''), '[^0-9]', '', 'g')"


def finer_than(digits: int) -> str:
    """Whether a fraction has more digits than these that are not 0."""
    return f"regexp_matches(\"time\", '\\.[0-9]{{{digits}}}[0-9]*[1-9]')"


def of_digits(places: int) -> str:
    """Whether it is written in digits alone, no more than these behind the point."""
    return (
        f"regexp_full_match(trim(\"time\"), '[+-]?[0-9]*(\\.[0-9]*)?') AND NOT {finer_than(places)}"
    )


def decimal(places: int) -> str:
    """A number in its last place."""
    return f'TRY_CAST(TRY_CAST("time" AS DECIMAL(28, {places})) * {10**places} AS BIGINT)'


# An expression of each kind, and what must hold of each value; the first that all fit is taken.
KINDS = {
    # A cast to BIGINT would round 1.5 to 2.
    'TRY_CAST("time" AS BIGINT)': of_digits(0),
    # Those of 64 bits without a sign, moved to where they fit.
    '(TRY_CAST("time" AS UBIGINT)::HUGEINT - 9223372036854775808)::BIGINT': of_digits(0),
    # Seconds, milliseconds and microseconds with nanoseconds behind the point, which no double has.
    **{decimal(places): of_digits(places) for places in (9, 6, 3)},
    # 17 digits are all that a double has.
    'TRY_CAST("time" AS DOUBLE)': (
        f"isfinite(TRY_CAST(\"time\" AS DOUBLE)) AND length(ltrim({DIGITS}, '0')) <= 17"
    ),
    MICROS: f"NOT {finer_than(6)}",
    # With nanoseconds 64 bits reach from 1677 to 2262.
    f"TRY_CAST({MICROS}::HUGEINT * 1000 + {NINTH} AS BIGINT)": f"NOT {finer_than(9)}",
}


def kind_of_time(connection: DuckDBPyConnection) -> tuple[str, int | None]:
    """How to read the column "time" of the table `text`, and the first row that cannot be read so,
    None where all can. Where no kind fits all rows it is the one that fits the most.
    """
    fits_until = {}
    for expression, condition in KINDS.items():
        row = first_value(
            connection,
            'SELECT min("row") FROM text'
            f" WHERE NOT coalesce({condition} AND {expression} IS NOT NULL, false)",
        )
        if row is None:
            return expression, None
        fits_until[expression] = row
    best = max(fits_until, key=fits_until.__getitem__)
    return best, fits_until[best]
