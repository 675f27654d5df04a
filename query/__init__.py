"""The query service: answers questions over a team's documents, and keeps those documents."""
