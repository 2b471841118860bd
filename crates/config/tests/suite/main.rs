//! The file, from outside.
