"""Tables that a spreadsheet opens, in which no text that users wrote is taken for a formula."""

import csv
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

# OWASP, "CSV Injection": what may begin a formula, where a cell may begin: at a text's start, and behind whatever a
# spreadsheet may take for the end of a cell. Blanks before it are passed over, as some spreadsheets do; the last four
# are full-width forms.
_FORMULA = re.compile(r"""(^|[,;|\t\r\n"'])(?=\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n])""")


def spreadsheet_csv(table: "pd.DataFrame") -> str:
    """The table as CSV; texts are in quotes, with a ' before whatever could begin a formula, numbers as they are."""
    texts = table.select_dtypes(include=["object", "string", "category"])
    escaped = {name: column.map(without_formula, na_action="ignore") for name, column in texts.items()}
    named = table.assign(**escaped).rename(columns=without_formula)
    return named.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC)


def without_formula(text: object) -> object:
    """A text with a ' before whatever a spreadsheet could take for a formula; anything else as it is."""
    return _FORMULA.sub(r"\1'", text) if isinstance(text, str) else text
