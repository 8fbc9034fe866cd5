mod simulation;
mod transitions;
