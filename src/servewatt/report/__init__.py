"""Reports for people: terminal, HTML, CSV, JSON, Markdown, figures. Computes no new number."""
