//! What is up to date, and why not. Knows one task at a time and nothing of scheduling.
