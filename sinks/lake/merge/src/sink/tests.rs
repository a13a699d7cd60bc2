//! The sink against a catalog in memory: scenarios, and a simulation with a crash at every step.

mod harness;
mod scenarios;
mod sharing;
mod simulation;
mod stops;
