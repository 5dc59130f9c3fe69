"""The rows of the table, by subject: every module here has `CASES`, and may have `EXEMPT`."""
