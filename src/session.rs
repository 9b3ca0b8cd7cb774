//! The loop that ties watch, plan and schedule together.
