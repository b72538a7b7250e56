//! The one binary: what users and operators type, and the processes of a cluster.
#![forbid(unsafe_code)]
#![allow(dead_code)]

mod args;
mod config;
mod document;
mod exit;
mod fault;
mod jobfile;
mod output;
mod quantity;
mod render;

fn main() {}
