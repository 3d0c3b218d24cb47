"""The paper's tables: what they vary is trained here once, and set beside what the paper prints."""
