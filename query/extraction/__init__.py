"""From files to texts: plain text, Markdown, HTML and PDF."""
