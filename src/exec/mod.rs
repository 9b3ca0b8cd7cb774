//! One command and its process tree. Knows nothing of tasks, plans or what is up to date.
