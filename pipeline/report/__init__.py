"""A finished run as one HTML file that needs nothing but a browser.

In: all that a run left, and frames of a few clips. Out: `report.html`. Never known here: how anything in it was
computed.
"""
