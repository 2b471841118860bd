//! The gateway from outside: its real process, real instances, real sockets.

mod acme;
mod answers;
mod aside;
mod control;
mod counts;
mod frames;
mod guard;
mod handover;
mod house;
mod http;
mod http2;
mod keeper;
mod limits;
mod porter;
mod smuggling;
mod strict;
mod telling;
mod tls;
