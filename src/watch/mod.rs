//! The file-watching system. Knows nothing of tasks; usable by any program on its own.
