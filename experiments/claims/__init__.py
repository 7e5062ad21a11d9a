"""The paper's claims and this repository's own, each with its effect in the committed records and a verdict."""
