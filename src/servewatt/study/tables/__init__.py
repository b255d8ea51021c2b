"""The study's tables, each a function that returns a `report.table.Table`."""
