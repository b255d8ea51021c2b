"""The study as one page, with its tables and figures as files beside it."""
