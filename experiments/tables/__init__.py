"""Tables as rows from records, and their formats: markdown, csv, LaTeX."""
