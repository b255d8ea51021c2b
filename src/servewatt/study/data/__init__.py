"""The study's observations: from runs, results files and CSV, summarised by model and configuration."""
