"""Words: vocabularies as data, prompt templates, and the bank that turns words into embeddings."""
