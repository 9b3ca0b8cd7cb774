//! Which task runs next: a pure state machine and the driver that carries its decisions out.

pub mod state;
