//! Messages, told from a real journal to receivers that behave as the world does.

mod receiver;
mod telling;
