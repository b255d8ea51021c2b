"""What people look at: terminal, HTML, CSV, JSON, Markdown, figures. Computes no new number."""
