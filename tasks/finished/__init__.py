"""Tasks on finished runs: nothing is extracted or trained."""
