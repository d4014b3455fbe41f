//! Says what is being worked on, how long that may take, and how long it took.

use std::time::Instant;

use integration::console::print;

/// Prints a line for each step.
pub struct Progress {
    began: Instant,
    step: Option<Instant>,
}

impl Progress {
    /// The clock starts now.
    pub fn start() -> Self {
        Self { began: Instant::now(), step: None }
    }

    /// Ends the step before and begins one that takes about `forecast` seconds on two cores.
    pub fn step(&mut self, what: &str, forecast: u32) {
        self.end_step();
        print(&format!("==> {what} (about {forecast} s) ... "));
        self.step = Some(Instant::now());
    }

    /// Ends the last step and prints the time of all.
    pub fn done(&mut self) {
        self.end_step();
        print(&format!("==> all in {:.1} s\n\n", self.began.elapsed().as_secs_f64()));
    }

    /// Ends the step, so that other text can follow.
    pub fn end_step(&mut self) {
        if let Some(step) = self.step.take() {
            print(&format!("{:.1} s\n", step.elapsed().as_secs_f64()));
        }
    }
}
